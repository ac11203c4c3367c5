"""A ticket's life in the dose ledger: reserved, then settled or released."""

import sqlite3
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Final

from cryoline.acquisition import dose_refusals as refusals
from cryoline.acquisition.dose_book import book, from_milli, record, to_milli
from cryoline.acquisition.dose_cells import (
    Booked,
    footprint_of,
    grid_of,
    laid_over,
    read_footprint,
)
from cryoline.acquisition.dose_partial import parts_of
from cryoline.acquisition.dose_queries import (
    Reserved,
    reserved_of,
    settled_counter,
    ticket_account,
)
from cryoline.acquisition.dose_records import Settlement
from cryoline.acquisition.dose_rules import (
    refuse_closed,
    refuse_restarted,
    refuse_unproved,
    worst_milli,
)
from cryoline.acquisition.dose_ruling import Demand, Rules, SpecimenDose
from cryoline.acquisition.dose_series import Series, refuse_over_budget
from cryoline.acquisition.errors import LedgerError
from cryoline.acquisition.fluence import (
    charge_limit_c,
    fluence_of_charge_e_per_nm2,
    local_fluence_e_per_nm2,
)
from cryoline.devices.exposure import Exposure, ExposureResult, Ticket

__all__ = ["release", "reserve", "settle"]

_ROUNDING_MILLI: Final = 1
"""So far above its reservation a charge is not called over."""


def reserve(
    connection: sqlite3.Connection,
    exposure: Exposure,
    *,
    current_pa: float,
    current_limit_pa: float,
    source: str,
    boot_id: str,
    counter: int,
    series_uid: str | None,
    rules: Rules,
) -> Ticket:
    """Book the worst case of an exposure, and return its ticket."""
    refuse_restarted(connection, source, boot_id, counter)
    refuse_closed(connection, exposure.specimen, exposure.region)
    series = None if series_uid is None else Series(connection, series_uid)
    drawn = None
    if series is not None:
        drawn = series.draw(exposure, current_pa)
        current_limit_pa = series.current_limit_pa
    milli = worst_milli(exposure, current_limit_pa)
    footprint = footprint_of(connection, exposure)
    demand = Demand(exposure.region, footprint, milli)
    ruling = SpecimenDose(connection, exposure.specimen, rules).rule_around(
        footprint,
        exposure.region,
        [demand],
        # What a series holds for it was paid for when it was opened.
        in_series=drawn is not None,
    )
    asked = refusals.Asked(
        f"this {exposure.purpose} exposure",
        exposure.specimen,
        exposure.region,
        ruling.asked,
        1,
        current_limit_pa,
        current_pa,
    )
    if ruling.is_over:
        raise refusals.over_limit(asked, ruling)
    if series is not None and drawn is None:
        grid = grid_of(read_footprint(footprint), rules.place_uncertainty_nm)
        refuse_over_budget(series, demand, grid, asked)
    ticket = Ticket(
        uid=str(uuid.uuid4()),
        exposure=exposure,
        current_pa=current_pa,
        current_limit_pa=current_limit_pa,
        max_time_s=exposure.beam_on_s,
        max_charge_c=charge_limit_c(exposure, current_limit_pa),
        reserved_e_per_nm2=from_milli(milli),
    )
    event = record(
        connection,
        "reserve",
        {"ticket": ticket.model_dump(mode="json")},
        specimen=exposure.specimen,
        region=exposure.region,
        series=series_uid,
        shape=drawn.shape if drawn else None,
        ticket=ticket.uid,
        source=source,
        boot_id=boot_id,
        counter=counter,
    )
    if drawn is not None:
        book(connection, event, "series", -drawn.milli, exposure, drawn.footprint)
    book(connection, event, "ticket", milli, exposure, footprint, ticket.uid)
    return ticket


def settle(
    connection: sqlite3.Connection,
    ticket_uid: str,
    charge_c: float | None,
    body: Mapping[str, Any],
    *,
    source: str,
    boot_id: str | None,
    counter: int | None,
    rules: Rules,
    probe_diameter_nm: float | None,
) -> Settlement:
    """Charge a ticket's exposure, by its reservation if no charge is given.

    The order of decisions:

    1. What this very exposure was charged before is not charged again; a larger
       charge of it is raised to that, a smaller one changes nothing.
    2. Another exposure by the same ticket is charged on top.
    3. What the ticket still holds reserved is freed, whatever was charged.
    """
    reserved = reserved_of(connection, ticket_uid)
    exposure, footprint = reserved.ticket.exposure, reserved.footprint
    is_open = ticket_account(connection, ticket_uid, "ticket")
    before = ticket_account(connection, ticket_uid, "settled")
    same = settled_counter(connection, ticket_uid, boot_id, counter)
    mean = reserved.milli if charge_c is None else _charge(exposure, charge_c)
    parts = [(footprint, mean)]
    if "result" in body:
        result = ExposureResult.model_validate(body["result"])
        parts = parts_of(exposure, footprint, result)
    charged = sum(milli for _, milli in parts)
    added = max(0, charged - same)
    if same and added:  # it was charged otherwise before: the rest goes everywhere
        parts = [(footprint, added)]
    total = before + added
    # A reservation is of the field's mean; where a cut frame ended is no reason.
    over = total - (charged - mean) > reserved.milli + _ROUNDING_MILLI
    dose = SpecimenDose(connection, exposure.specimen, rules)
    own = [Booked(exposure.region, text, "settled", milli) for text, milli in parts]
    prior, after = _around(
        connection,
        dose,
        reserved,
        own if added else [],
        (source, boot_id, counter),
        rules,
    )
    if is_open or added:
        event = record(
            connection,
            "settle",
            {**body, **_fluences(exposure, from_milli(mean), probe_diameter_nm)},
            specimen=exposure.specimen,
            region=exposure.region,
            series=reserved.row.series,
            ticket=ticket_uid,
            source=source,
            boot_id=boot_id,
            counter=counter,
            over=int(over),
        )
        book(connection, event, "ticket", -is_open, exposure, footprint, ticket_uid)
        for text, milli in parts if added else []:
            book(connection, event, "settled", milli, exposure, text, ticket_uid)
    return Settlement(
        ticket_uid,
        fluence_e_per_nm2=from_milli(total),
        reserved_e_per_nm2=from_milli(reserved.milli),
        over=over,
        prior_e_per_nm2=prior / 1000,
        after_e_per_nm2=after / 1000,
        limit_e_per_nm2=from_milli(dose.limit_of(exposure.region)),
    )


def release(
    connection: sqlite3.Connection,
    ticket_uid: str,
    *,
    reason: str,
    source: str,
    boot_id: str,
    counter: int,
) -> None:
    """Free what a ticket holds; a series that is still open gets its share back."""
    ticket, _, footprint, row = reserved_of(connection, ticket_uid)
    exposure = ticket.exposure
    held = ticket_account(connection, ticket_uid, "ticket")
    if not held:
        raise LedgerError(
            f"dose: ticket {ticket_uid} is settled or released already; nothing was "
            "released"
        )
    refuse_unproved(connection, row, boot_id, counter)
    event = record(
        connection,
        "release",
        {"reason": reason},
        specimen=exposure.specimen,
        region=exposure.region,
        series=row.series,
        ticket=ticket_uid,
        source=source,
        boot_id=boot_id,
        counter=counter,
    )
    book(connection, event, "ticket", -held, exposure, footprint, ticket_uid)
    if row.series is not None and row.shape is not None:
        series = Series(connection, row.series)
        if series.is_open:
            share = series.declared[row.shape]
            book(connection, event, "series", share.milli, exposure, share.footprint)


def _charge(exposure: Exposure, charge_c: float) -> int:
    return to_milli(fluence_of_charge_e_per_nm2(charge_c, exposure.area_nm2))


def _fluences(
    exposure: Exposure, mean_e_per_nm2: float, probe_diameter_nm: float | None
) -> dict[str, float]:
    """Return what is recorded of an exposure's fluence, and never ruled on."""
    found = {"mean_e_per_nm2": mean_e_per_nm2}
    if probe_diameter_nm is not None:
        found["local_e_per_nm2"] = local_fluence_e_per_nm2(
            mean_e_per_nm2, exposure, probe_diameter_nm
        )
    return found


def _around(
    connection: sqlite3.Connection,
    dose: SpecimenDose,
    reserved: Reserved,
    new: Iterable[Booked],
    made_at: tuple[str, str | None, int | None],
    rules: Rules,
) -> tuple[float, float]:
    """Return the fullest cell of an exposure's field before it and after, 1e-3 e/nm2.

    What the instrument has made after it, by its counter, was not there at its start,
    even if that was settled sooner.
    """
    exposure = reserved.ticket.exposure
    footprint = reserved.footprint or footprint_of(connection, exposure)
    grid = grid_of(read_footprint(footprint), rules.place_uncertainty_nm)
    by_it = connection.execute(
        "SELECT region, footprint, account, milli_e_per_nm2 FROM bookings "
        "WHERE ticket = ? AND account = 'settled'",
        (reserved.ticket.uid,),
    )
    made = laid_over(grid, [Booked(*row) for row in by_it], "settled")
    later = connection.execute(
        "SELECT b.region, b.footprint, b.account, b.milli_e_per_nm2 FROM events e "
        "JOIN bookings b ON b.event = e.uid WHERE e.source = :source "
        "AND e.boot_id = :boot AND e.counter > :counter AND e.kind = 'settle' "
        "AND e.specimen = :specimen AND e.ticket != :ticket AND b.account = 'settled'",
        {
            "specimen": exposure.specimen,
            "ticket": reserved.ticket.uid,
            **dict(zip(("source", "boot", "counter"), made_at, strict=True)),
        },
    )
    not_before = made + laid_over(grid, [Booked(*row) for row in later], "settled")
    before = dose.settled_over(grid) - not_before
    after = before + made + laid_over(grid, new, "settled")
    return max(0.0, float(before.max())), float(after.max())
