"""The custody record: where each specimen is and was, and how cold it stayed.

Rows are only ever added, each with a UUID, on disk before a call returns. What a
specimen has suffered it keeps for life, and hands on to what is made of it.
"""

import logging
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from cryoline.acquisition.custody_backup import refuse_lost_rows, renew
from cryoline.acquisition.custody_queries import (
    COLUMNS,
    Fate,
    add_row,
    as_open_leg,
    as_row,
    find_open_leg,
    left_unfinished,
    lineage,
    moved,
    row_of,
    rows_of,
)
from cryoline.acquisition.custody_records import (
    CustodyFile,
    CustodyRow,
    CustodyState,
    LegReport,
    LegStart,
    OpenLeg,
)
from cryoline.acquisition.errors import CustodyError
from cryoline.acquisition.owner import this_owner

__all__ = ["CustodyRecord"]

_log = logging.getLogger("cryoline.custody")


class CustodyRecord:
    """The record of one data directory, shared by its sessions and threads.

    Example
    -------
    >>> import tempfile
    >>> record = CustodyRecord(Path(tempfile.mkdtemp()) / "custody.sqlite")
    >>> record.register("wafer-1")
    >>> record.register("needle-1", parent="wafer-1")
    >>> record.flag("wafer-1", "temperature", "-120 degC", occurred_s=0)
    >>> record.state("needle-1").flags
    ('temperature',)
    """

    def __init__(self, path: Path, *, backup: Path | None = None) -> None:
        self.path = path
        self.backup = backup
        """Where a copy is renewed after each row."""
        if backup is not None:
            refuse_lost_rows(path, backup)
        self._file = CustodyFile(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        self._file.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Give a transaction that no other writer shares; its rows are copied."""
        with self._file.writing() as connection:
            before = connection.total_changes
            yield connection
            has_grown = connection.total_changes > before
        # Committed: whatever happens to the backup, the row stands.
        if has_grown and (problem := renew(self.path, self.backup)):
            _log.error(problem)

    # What is written.

    def register(
        self, specimen: str, *, parent: str | None = None, made_as: str = ""
    ) -> None:
        """Begin a specimen's record; doing it twice changes nothing.

        Raises CustodyError if it is known as made from something else.
        """
        with self._writing() as connection:
            known = row_of(connection, specimen)
            if known is not None:
                there = known.body["parent"]
                if parent is not None and parent != there:
                    raise CustodyError(
                        f"custody: {specimen} is known as made from "
                        f"{there or 'nothing'}, not from {parent}; choose another name"
                    )
                return
            if parent is not None and row_of(connection, parent) is None:
                add_row(connection, "specimen", parent, {"parent": None, "made_as": ""})
            body = {"parent": parent, "made_as": made_as}
            add_row(connection, "specimen", specimen, body)

    def enter_leg(self, start: LegStart) -> None:
        """Note that a specimen is on its way; entering the same leg twice is once.

        Raises CustodyError if another leg of it is open.
        """
        self.register(start.specimen)
        with self._writing() as connection:
            already = connection.execute(
                "SELECT 1 FROM rows WHERE uid = ?", (start.uid,)
            ).fetchone()
            if already:
                return
            if (open_leg := find_open_leg(connection, start.specimen)) is not None:
                raise CustodyError(
                    f"custody: {start.specimen} is on leg {open_leg.start.leg} of "
                    f"{open_leg.start.route} already; that must be ended first"
                )
            add_row(
                connection,
                "enter",
                start.specimen,
                {"start": asdict(start), "owner": this_owner()},
                uid=start.uid,
                leg=start.uid,
                instrument_s=start.instrument_time_s,
                run=start.run,
            )

    def leave_leg(self, report: LegReport, *, if_entered: bool = False) -> None:
        """Note where a leg has ended; leaving it twice is once.

        if_entered: do nothing if it was never entered; else that is a CustodyError
        """
        with self._writing() as connection:
            found = connection.execute(
                "SELECT specimen, run FROM rows WHERE uid = ? AND kind = 'enter'",
                (report.uid,),
            ).fetchone()
            if found is None and if_entered:
                return
            if found is None:
                raise CustodyError(f"custody: no leg {report.uid} was ever entered")
            ended = connection.execute(
                "SELECT 1 FROM rows WHERE leg = ? AND kind = 'leave'", (report.uid,)
            ).fetchone()
            if ended:
                return
            specimen, run = found
            add_row(
                connection,
                "leave",
                specimen,
                {"report": asdict(report)},
                leg=report.uid,
                instrument_s=report.instrument_time_s,
                run=run,
            )

    def warn(
        self, specimen: str, text: str, *, leg: str, instrument_time_s: float
    ) -> None:
        """Note a reading that warned; it leaves no flag."""
        with self._writing() as connection:
            add_row(
                connection,
                "warning",
                specimen,
                {"text": text},
                leg=leg,
                instrument_s=instrument_time_s,
            )

    def flag(
        self,
        specimen: str,
        flag: str,
        text: str,
        *,
        leg: str | None = None,
        instrument_time_s: float | None = None,
        occurred_s: float | None = None,
    ) -> None:
        """Mark a specimen for life.

        occurred_s: wall time, if it was found out later; what was made of it since
        then is marked too
        """
        if not flag or not text:
            raise CustodyError(f"custody: {specimen}: give a flag and what happened")
        self.register(specimen)
        with self._writing() as connection:
            now_s = time.time()
            add_row(
                connection,
                "flag",
                specimen,
                {
                    "flag": flag,
                    "text": text,
                    "occurred_s": now_s if occurred_s is None else occurred_s,
                },
                leg=leg,
                instrument_s=instrument_time_s,
            )

    def harvest(self, specimen: str, state: Mapping[str, Any]) -> None:
        """Note the state in which an electrode's cycling has ended, in its cell.

        state: as the plan `harvest` records it; noting it twice is once
        """
        self.register(specimen)
        run = state["cycling_run"]
        with self._writing() as connection:
            if any(
                row.run == run and "harvest" in row.body
                for row in rows_of(connection, specimen)
            ):
                return
            reason = (
                f"harvested {state['state']} in cycle {state['cycle_number']} at "
                f"{state['potential_v']:.3f} V"
            )
            body = {"place": "cell", "state": "", "reason": reason}
            add_row(
                connection,
                "place",
                specimen,
                {**body, "harvest": dict(state)},
                instrument_s=state["instrument_time_s"],
                run=run,
            )

    def correct_place(
        self, specimen: str, place: str, *, state: str = "", reason: str
    ) -> None:
        """Note where a person has found a specimen; ends a leg left open.

        Raises CustodyError without a reason, or while a living session walks the leg.
        """
        if not reason.strip():
            raise CustodyError(
                f"custody: {specimen}: why is it in {place}? Give a reason"
            )
        self.register(specimen)
        with self._writing() as connection:
            open_leg = find_open_leg(connection, specimen)
            if open_leg is not None and open_leg.is_walked:
                raise CustodyError(
                    f"custody: {specimen} is on leg {open_leg.start.leg}, walked by "
                    f"process {open_leg.owner['pid']}; end that session first"
                )
            if open_leg is not None:
                report = LegReport(
                    uid=open_leg.start.uid,
                    outcome="interrupted",
                    place=place,
                    state=state,
                    instrument_time_s=open_leg.start.instrument_time_s,
                    why=reason,
                )
                add_row(
                    connection,
                    "leave",
                    specimen,
                    {"report": asdict(report)},
                    leg=report.uid,
                )
            body = {"place": place, "state": state, "reason": reason}
            add_row(connection, "place", specimen, body)

    # What is asked.

    def knows(self, specimen: str) -> bool:
        """Return whether there is a record of it."""
        with self._file.reading() as connection:
            return row_of(connection, specimen) is not None

    def specimens(self) -> tuple[str, ...]:
        """Return every specimen, in the order in which they were registered."""
        with self._file.reading() as connection:
            rows = connection.execute(
                "SELECT specimen FROM rows WHERE kind = 'specimen' ORDER BY id"
            )
            return tuple(name for (name,) in rows)

    def children(self, specimen: str) -> tuple[str, ...]:
        """Return what was made of it, oldest first."""
        with self._file.reading() as connection:
            rows = connection.execute(
                "SELECT specimen FROM rows WHERE kind = 'specimen' "
                "AND json_extract(body, '$.parent') = ? ORDER BY id",
                (specimen,),
            )
            return tuple(name for (name,) in rows)

    def open_legs(self) -> tuple[OpenLeg, ...]:
        """Return every leg that was entered and not left."""
        with self._file.reading() as connection:
            rows = connection.execute(
                f"SELECT {COLUMNS} FROM rows e WHERE kind = 'enter' AND NOT EXISTS "
                "(SELECT 1 FROM rows l WHERE l.leg = e.uid AND l.kind = 'leave') "
                "ORDER BY id"
            )
            return tuple(as_open_leg(as_row(row)) for row in rows)

    def history(self, specimen: str) -> tuple[CustodyRow, ...]:
        """Return a specimen's rows, oldest first, without those of its ancestors."""
        with self._file.reading() as connection:
            return tuple(rows_of(connection, specimen))

    def state(self, specimen: str) -> CustodyState:
        """Return where it is and what it has suffered; see `CustodyState`."""
        with self._file.reading() as connection:
            line = tuple(lineage(connection, specimen))
            fate = Fate()
            place, state, route, as_of_s = "", "", "", 0.0
            unfinished: LegStart | None = None
            harvest: Mapping[str, Any] | None = None
            # The oldest first: what was made and not carried since is where that was.
            for name, until_s in reversed(line):
                for row in rows_of(connection, name):
                    fate.add(row, until_s)
                    if row.wall_s <= until_s:
                        place, state, route = moved(row, place, state, route)
                        unfinished = left_unfinished(row, unfinished)
                        harvest = row.body.get("harvest", harvest)
                        as_of_s = row.wall_s
            return CustodyState(
                specimen=specimen,
                place=place,
                state=state,
                route=route,
                t_max_degc=fate.t_max_degc,
                p_max_mbar=fate.p_max_mbar,
                air_s=fate.air_s,
                flags=tuple(sorted(fate.flags)),
                as_of_s=max(as_of_s, fate.flagged_s),
                ancestors=tuple(name for name, _ in reversed(line[1:])),
                open_leg=find_open_leg(connection, specimen),
                unfinished=unfinished,
                harvest=harvest,
            )
