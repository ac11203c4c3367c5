"""Everything that is known of a specimen: its runs, its dose, its custody."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from cryoline.acquisition.config import Config
from cryoline.acquisition.custody import CustodyRecord
from cryoline.acquisition.custody_records import CustodyState
from cryoline.acquisition.dose_config import open_ledger
from cryoline.acquisition.dose_report import DoseReport, render, report_on
from cryoline.acquisition.errors import CryolineError
from cryoline.acquisition.journal_format import decode_line
from cryoline.acquisition.sample_exchange import away

__all__ = ["RunSummary", "SampleReport", "look_up", "render_sample", "runs_in"]

_TAIL_BYTES: Final = 65_536
"""Of a journal's end: holds the stop document, which is a few hundred bytes."""


@dataclass(frozen=True)
class RunSummary:
    """What a raw journal's first and last line say of a run."""

    key: str
    specimen: str
    ancestors: tuple[str, ...]
    technique: str
    scan_id: int | None
    time_s: float
    """Wall time of its start, Unix seconds."""
    exit_status: str
    """success, abort, fail; "open" as long as there is no stop document."""


@dataclass(frozen=True)
class SampleReport:
    """A specimen and what it was made from."""

    specimen: str
    ancestors: tuple[str, ...]
    """Oldest first."""
    runs: tuple[RunSummary, ...]
    """Its own and its ancestors', oldest first."""
    dose: DoseReport | None
    """None as long as there is no ledger."""
    custody: CustodyState | None
    """None as long as there is no record of it."""
    away: str = ""
    """Where it was sent, and when, as long as it is locked here."""

    def as_dict(self) -> dict[str, Any]:
        """Return what a program may read (``cryoline sample show --json``)."""
        return {
            "specimen": self.specimen,
            "ancestors": list(self.ancestors),
            "runs": [asdict(run) for run in self.runs],
            "dose": None if self.dose is None else self.dose.as_dict(),
            "custody": None if self.custody is None else asdict(self.custody),
            "away": self.away,
        }


def runs_in(folder: Path) -> Iterator[RunSummary]:
    """Yield the runs of a folder of raw journals; what is no journal is passed over."""
    for path in folder.glob("*.jsonl"):
        with path.open("rb") as journal:
            first = journal.readline()
            journal.seek(max(len(first), path.stat().st_size - _TAIL_BYTES))
            rest = journal.read()
        start = _document(first, "start")
        if start is None:
            continue
        # What stands behind the last newline is a line in the making.
        lines = rest[: rest.rfind(b"\n") + 1].splitlines()
        stop = _document(lines[-1], "stop") if lines else None
        yield RunSummary(
            path.stem,
            str(start.get("specimen", "")),
            tuple(start.get("ancestors", ())),
            str(start.get("technique") or start.get("plan_name", "")),
            start.get("scan_id"),
            float(start["time"]),
            "open" if stop is None else str(stop["exit_status"]),
        )


def look_up(config: Config, specimen: str) -> SampleReport:
    """Return what journals, dose ledger and custody record know of a specimen.

    Raises CryolineError if none of them knows it.
    """
    custody, known = _custody(config, specimen)
    runs = list(runs_in(config.layout.raw_journal))
    ancestors = list(custody.ancestors) if custody is not None else []
    for run in runs:
        if run.specimen == specimen:
            ancestors += [name for name in run.ancestors if name not in ancestors]
    family = [*ancestors, specimen]
    found = [run for run in runs if run.specimen in family]
    dose, dosed = _dose(config, family)
    if custody is None and specimen not in dosed and not found:
        known = {*known, *dosed, *(run.specimen for run in runs)} - {""}
        near = difflib.get_close_matches(specimen, sorted(known), n=1)
        hint = f"did you mean {near[0]!r}?" if near else "see cryoline dose show"
        raise CryolineError(
            f"specimen {specimen!r}: no run, dose or custody of it in "
            f"{config.layout.root}; {hint}"
        )
    lock = away(config, specimen) if dose is not None else None
    return SampleReport(
        specimen,
        tuple(ancestors),
        tuple(sorted(found, key=lambda run: run.time_s)),
        dose,
        custody,
        "" if lock is None else lock.text,
    )


def render_sample(report: SampleReport, console: Console) -> None:
    """Write the report for a person."""
    made_from = " <- ".join([report.specimen, *reversed(report.ancestors)])
    console.print(f"[bold]{escape(made_from)}[/]")
    if report.away:
        text = f"LOCKED: {report.specimen} {report.away}; see cryoline sample import"
        console.print(escape(text), style="red", soft_wrap=True)
    if report.custody is not None:
        _render_custody(report.custody, console)
    run_column = Column("run", overflow="fold")  # a key cut short is no key
    table = Table(run_column, "started (UTC)", "technique", "ended")
    for run in report.runs:
        started = datetime.fromtimestamp(run.time_s, tz=UTC)
        table.add_row(
            run.key, f"{started:%Y-%m-%d %H:%M}", run.technique, run.exit_status
        )
    console.print(table)
    if report.dose is not None:
        render(report.dose, console)


def _render_custody(custody: CustodyState, console: Console) -> None:
    where = " ".join(filter(None, (custody.place, custody.state)))
    if not where:
        where = "not known" if custody.harvest is None else "in its cell"
    parts = [f"is: {where}"]
    if custody.t_max_degc is not None:
        parts.append(f"warmest since it was cold: {custody.t_max_degc:.1f} degC")
    if custody.p_max_mbar is not None:
        parts.append(f"worst pressure: {custody.p_max_mbar:.1e} mbar")
    if custody.air_s:
        parts.append(f"in air: {custody.air_s:.0f} s")
    console.print(escape("; ".join(parts)), soft_wrap=True)
    if custody.harvest is not None:
        text = f"harvested {_harvested(custody.harvest)}"
        console.print(escape(text), soft_wrap=True)
    if custody.flags:
        console.print(
            f"flagged for life: {escape(', '.join(custody.flags))}", style="red"
        )


def _harvested(harvest: Mapping[str, Any]) -> str:
    """Return the state at harvest, of this or another site's record, in a line."""
    parts = [str(harvest["state"])]
    if "cycle_number" in harvest:
        parts.append(f"cycle {harvest['cycle_number']}")
    parts.append(f"{harvest['potential_v']:.3f} V")
    if harvest.get("lithiation_x") is not None:
        parts.append(f"x = {harvest['lithiation_x']:.2f} by charge, SEI included")
    parts.append(f"run {harvest['cycling_run']}")
    return ", ".join(parts)


def _custody(config: Config, specimen: str) -> tuple[CustodyState | None, set[str]]:
    """Return the specimen's state if it is known, and every specimen that is."""
    if not config.custody_record.exists() and not config.custody_backup.exists():
        return None, set()
    with CustodyRecord(config.custody_record, backup=config.custody_backup) as record:
        known = set(record.specimens())
        return (record.state(specimen) if specimen in known else None), known


def _dose(config: Config, family: list[str]) -> tuple[DoseReport | None, list[str]]:
    """Return the family's dose if there is a ledger, and every specimen in it."""
    if not config.dose_ledger.exists() and not config.dose_backup.exists():
        return None, []
    with open_ledger(config) as ledger:
        dosed = ledger.specimens()
        return report_on(ledger, [name for name in family if name in dosed]), dosed


def _document(line: bytes, wanted: str) -> dict[str, Any] | None:
    try:
        name, doc = decode_line(line)
    except ValueError:
        return None
    return doc if name == wanted else None
