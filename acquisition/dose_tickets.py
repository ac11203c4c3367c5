"""A ticket's life in the dose ledger: reserved, then settled or released."""

import sqlite3
import uuid
from collections.abc import Mapping
from typing import Any, Final

from cryoline.acquisition import dose_refusals as refusals
from cryoline.acquisition.dose_book import (
    balance,
    book,
    from_milli,
    record,
    regions_charged,
    to_milli,
)
from cryoline.acquisition.dose_queries import (
    reserved_of,
    settled_counters,
    ticket_account,
)
from cryoline.acquisition.dose_records import Settlement
from cryoline.acquisition.dose_rules import (
    refuse_over_limit,
    refuse_restarted,
    refuse_unproved,
    worst_amounts,
)
from cryoline.acquisition.dose_series import Series
from cryoline.acquisition.errors import LedgerError
from cryoline.acquisition.fluence import charge_limit_c, fluence_of_charge_e_per_nm2
from cryoline.devices.exposure import Exposure, Ticket

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
    configured_e_per_nm2: float,
) -> Ticket:
    """Book the worst case of an exposure, and return its ticket."""
    refuse_restarted(connection, source, boot_id, counter)
    shape: int | None = None
    share: Mapping[str, int] = {}
    if series_uid is not None:
        series = Series(connection, series_uid)
        shape, current_limit_pa, share = series.draw(exposure, current_pa)
    amounts = worst_amounts(exposure, current_limit_pa)
    for region, milli in amounts.items():
        asked = refusals.Asked(
            f"this {exposure.purpose} exposure",
            exposure.specimen,
            region,
            milli,
            1,
            current_limit_pa,
            current_pa,
        )
        # What a series holds was paid for when it was opened.
        refuse_over_limit(
            connection, asked, configured_e_per_nm2, in_series=series_uid is not None
        )
    ticket = Ticket(
        uid=str(uuid.uuid4()),
        exposure=exposure,
        current_pa=current_pa,
        current_limit_pa=current_limit_pa,
        max_time_s=exposure.beam_on_s,
        max_charge_c=charge_limit_c(exposure, current_limit_pa),
        reserved_e_per_nm2=from_milli(amounts[exposure.region]),
    )
    event = record(
        connection,
        "reserve",
        {"ticket": ticket.model_dump(mode="json"), "amounts": amounts},
        specimen=exposure.specimen,
        region=exposure.region,
        series=series_uid,
        shape=shape,
        ticket=ticket.uid,
        source=source,
        boot_id=boot_id,
        counter=counter,
    )
    book(connection, event, "series", _negative(share), exposure)
    book(connection, event, "ticket", amounts, exposure, ticket.uid)
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
) -> Settlement:
    """Charge a ticket's exposure, by its reservation if no charge is given.

    The order of decisions:

    1. What this very exposure was charged before is not charged again; a larger
       charge of it is raised to that, a smaller one changes nothing.
    2. Another exposure by the same ticket is charged on top.
    3. What the ticket still holds reserved is freed, whatever was charged.
    """
    ticket, reserved, row = reserved_of(connection, ticket_uid)
    exposure, region = ticket.exposure, ticket.exposure.region
    held = balance(connection, exposure.specimen, region)
    is_open = ticket_account(connection, ticket_uid, "ticket")
    before = ticket_account(connection, ticket_uid, "settled")
    same = settled_counters(connection, ticket_uid, boot_id, counter)
    charged = reserved if charge_c is None else _charges(exposure, charge_c)
    added = {hit: max(0, m - same.get(hit, 0)) for hit, m in charged.items()}
    total = {hit: before.get(hit, 0) + m for hit, m in added.items()}
    over = any(m > reserved.get(hit, 0) + _ROUNDING_MILLI for hit, m in total.items())
    if any(is_open.values()) or any(added.values()):
        event = record(
            connection,
            "settle",
            body,
            specimen=exposure.specimen,
            region=region,
            series=row.series,
            ticket=ticket_uid,
            source=source,
            boot_id=boot_id,
            counter=counter,
            over=int(over),
        )
        book(connection, event, "ticket", _negative(is_open), exposure, ticket_uid)
        book(connection, event, "settled", added, exposure, ticket_uid)
    return Settlement(
        ticket_uid,
        fluence_e_per_nm2=from_milli(total[region]),
        reserved_e_per_nm2=from_milli(reserved[region]),
        over=over,
        prior_e_per_nm2=from_milli(held.settled - before.get(region, 0)),
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
    ticket, _, row = reserved_of(connection, ticket_uid)
    exposure = ticket.exposure
    held = ticket_account(connection, ticket_uid, "ticket")
    if not any(held.values()):
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
    book(connection, event, "ticket", _negative(held), exposure, ticket_uid)
    if row.series is not None and row.shape is not None:
        series = Series(connection, row.series)
        if series.is_open:
            book(connection, event, "series", series.share(row.shape), exposure)


def _charges(exposure: Exposure, charge_c: float) -> dict[str, int]:
    fluence = fluence_of_charge_e_per_nm2(charge_c, exposure.area_nm2)
    hit = regions_charged(exposure).items()
    return {region: to_milli(fluence * part) for region, part in hit}


def _negative(amounts: Mapping[str, int]) -> dict[str, int]:
    return {region: -milli for region, milli in amounts.items()}
