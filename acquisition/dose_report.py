"""A person's view of the dose ledger: regions as bars, and what is open."""

import difflib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cryoline.acquisition.config import Config
from cryoline.acquisition.dose import DoseLedger
from cryoline.acquisition.dose_backup import is_current
from cryoline.acquisition.dose_config import open_ledger
from cryoline.acquisition.dose_records import (
    OpenSeries,
    OpenTicket,
    PurposeUsage,
    Usage,
)
from cryoline.acquisition.dose_refusals import exposure_text, fluence_text
from cryoline.acquisition.errors import LedgerError

__all__ = ["DoseReport", "RegionDose", "bar", "look_up", "render", "report_on"]

_WIDTH: Final = 40


@dataclass(frozen=True)
class RegionDose:
    """A region, and what each purpose has cost it."""

    usage: Usage
    purposes: Sequence[PurposeUsage]

    def as_dict(self) -> dict[str, Any]:
        """Return what a program may read."""
        purposes = {}
        for purpose in self.purposes:
            content = asdict(purpose)
            purposes[content.pop("purpose")] = content
        return {**asdict(self.usage), "purposes": purposes}


@dataclass(frozen=True)
class DoseReport:
    """Some specimens as the ledger holds them, at one moment."""

    ledger: Path
    backup: Path
    is_backup_current: bool
    regions: Sequence[RegionDose]
    tickets: Sequence[OpenTicket]
    series: Sequence[OpenSeries]

    @property
    def is_blocked(self) -> bool:
        """Whether a region waits for somebody to look."""
        return any(region.usage.is_blocked for region in self.regions)

    def as_dict(self) -> dict[str, Any]:
        """Return what a program may read (``cryoline dose show --json``)."""
        return {
            "ledger": str(self.ledger),
            "backup": str(self.backup),
            "is_backup_current": self.is_backup_current,
            "regions": [region.as_dict() for region in self.regions],
            "open_tickets": [
                {
                    "ticket": opened.ticket.model_dump(mode="json"),
                    "series": opened.series,
                    "time_s": opened.time_s,
                    "boot_id": opened.boot_id,
                    "counter": opened.counter,
                    "is_owner_alive": opened.is_owner_alive,
                    "reason": opened.reason,
                }
                for opened in self.tickets
            ],
            "open_series": [
                {
                    "uid": series.uid,
                    "time_s": series.time_s,
                    "is_owner_alive": series.is_owner_alive,
                    "left": [
                        {"specimen": specimen, "region": region, "e_per_nm2": left}
                        for (specimen, region), left in series.left_e_per_nm2.items()
                    ],
                }
                for series in self.series
            ],
        }


def look_up(config: Config, specimen: str | None) -> DoseReport:
    """Return the report on one specimen of a configuration's ledger, or on all.

    Raises LedgerError if there is no ledger yet, or the specimen is not in it.
    """
    if not config.dose_ledger.exists() and not config.dose_backup.exists():
        raise LedgerError(
            f"{config.dose_ledger}: there is no dose ledger yet; the first session "
            "with a beam makes it"
        )
    with open_ledger(config) as ledger:
        known = ledger.specimens()
        if specimen is not None and specimen not in known:
            near = difflib.get_close_matches(specimen, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "cryoline dose show"
            raise LedgerError(
                f"dose: specimen {specimen!r} is not in {ledger.path}; {hint}"
            )
        wanted = known if specimen is None else [specimen]
        return report_on(ledger, wanted)


def report_on(ledger: DoseLedger, specimens: Sequence[str]) -> DoseReport:
    """Return the report on some specimens."""
    return DoseReport(
        ledger.path,
        ledger.backup or Path(),
        ledger.backup is not None and is_current(ledger.path, ledger.backup),
        [
            RegionDose(
                ledger.usage(specimen, region), ledger.purposes(specimen, region)
            )
            for specimen in specimens
            for region in ledger.regions(specimen)
        ],
        [
            opened
            for opened in ledger.open_tickets()
            if opened.ticket.exposure.specimen in specimens
        ],
        [
            series
            for series in ledger.open_series_left()
            if any(specimen in specimens for specimen, _ in series.left_e_per_nm2)
        ],
    )


def render(report: DoseReport, console: Console) -> None:
    """Write the report for a person."""
    for region in report.regions:
        _render_region(region, console)
    for opened in report.tickets:
        _render_ticket(opened, console)
    for series in report.series:
        left = sum(series.left_e_per_nm2.values())
        state = "its session runs" if series.is_owner_alive else "its session is gone"
        console.print(
            f"open series {series.uid}: {fluence_text(left)} not drawn yet, {state}",
            soft_wrap=True,
        )
    if not report.is_backup_current:
        console.print(
            f"the backup {report.backup} is behind the ledger; it is renewed with the "
            "next charge",
            style="yellow",
            soft_wrap=True,
        )


def bar(usage: Usage, width: int = _WIDTH) -> Text:
    """Return a region as a bar: settled, reserved, left."""
    scale = width / usage.limit_e_per_nm2
    settled = min(width, round(usage.settled_e_per_nm2 * scale))
    # What is there at all is seen: a round-off must not hide it.
    settled = max(settled, int(usage.settled_e_per_nm2 > 0))
    used = usage.settled_e_per_nm2 + usage.reserved_e_per_nm2
    reserved = min(width, round(used * scale)) - settled
    reserved = min(width - settled, max(reserved, int(usage.reserved_e_per_nm2 > 0)))
    return Text.assemble(
        ("#" * settled, "red"),
        ("+" * reserved, "yellow"),
        ("." * (width - settled - reserved), "green"),
    )


def _render_region(region: RegionDose, console: Console) -> None:
    usage = region.usage
    head = Text(f"{usage.specimen}, {usage.region}  ")
    head.append_text(bar(usage))
    left_percent = 100 * usage.left_e_per_nm2 / usage.limit_e_per_nm2
    head.append(f"  {left_percent:.1f} % left")
    console.print(head)
    table = Table(
        "e/nm2", "settled #", "reserved +", "exposures", box=None, pad_edge=False
    )
    for purpose in region.purposes:
        table.add_row(
            purpose.purpose,
            _short(purpose.settled_e_per_nm2),
            _short(purpose.reserved_e_per_nm2),
            str(purpose.n_exposures),
        )
    table.add_row(
        "fullest cell",
        _short(usage.settled_e_per_nm2),
        _short(usage.reserved_e_per_nm2),
        "",
    )
    console.print(table)
    console.print(
        f"{_short(usage.left_e_per_nm2)} left of {_short(usage.limit_e_per_nm2)} "
        f"e/nm2; settled as a mean over the field: {_short(usage.mean_e_per_nm2)}"
    )
    if usage.is_blocked:
        console.print(
            f"BLOCKED: {', '.join(usage.blocked_by)} was charged more than it had "
            f"reserved; cryoline dose acknowledge {usage.specimen} {usage.region} "
            "--reason TEXT",
            style="bold red",
            soft_wrap=True,
        )
    console.print()


def _render_ticket(opened: OpenTicket, console: Console) -> None:
    age_s = time.time() - opened.time_s
    what = opened.reason or (
        "its session runs"
        if opened.is_owner_alive
        else "its session is gone: cryoline dose reconcile"
    )
    console.print(
        f"open ticket {opened.ticket.uid}: "
        f"{fluence_text(opened.ticket.reserved_e_per_nm2)}, "
        f"{escape(exposure_text(opened.ticket.exposure))}, {age_s:.0f} s old; "
        f"{escape(what)}",
        soft_wrap=True,
        highlight=False,
    )


def _short(fluence_e_per_nm2: float) -> str:
    return fluence_text(fluence_e_per_nm2).removesuffix(" e/nm2")
