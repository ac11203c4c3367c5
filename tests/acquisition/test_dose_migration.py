"""A ledger of version 1, as it was written then, is brought up to date and kept."""

import os
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cryoline.acquisition import dose_migration
from cryoline.acquisition.dose import DoseLedger
from cryoline.acquisition.dose_migration import copy_before_migration
from cryoline.acquisition.dose_queries import find_rows
from cryoline.acquisition.dose_records import LedgerRow, OpenTicket
from cryoline.acquisition.errors import DoseRefused, LedgerError
from cryoline.devices.exposure import Exposure, ExposureResult, Outcome

OLD = Path(__file__).with_name("dose_ledger_v1.sql")
FRAME = Exposure(
    specimen="nw-01", width_px=256, height_px=256, pixel_nm=2.0, dwell_s=1e-5
)
# As version 1 gave them, e/nm2.
SETTLED = 2317.161
"""To each of two regions."""
TICKETS = 10298.491
SERIES = 25746.227 - TICKETS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "dose.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(OLD.read_text())
    return path


def opened(path: Path, **options: Any) -> DoseLedger:
    return DoseLedger(path, limit_e_per_nm2=1e7, **options)


def rows(path: Path) -> tuple[int, list[Any]]:
    """Return the version, and what a ledger of version 1 holds too."""
    with closing(sqlite3.connect(path)) as connection:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        events = connection.execute(
            "SELECT * FROM events WHERE kind != 'migrate' ORDER BY id"
        ).fetchall()
        bookings = connection.execute(
            "SELECT id, event, ticket, specimen, region, purpose, account, "
            "milli_e_per_nm2 FROM bookings ORDER BY id"
        ).fetchall()
        return version, events + bookings


def test_no_row_is_lost_and_the_old_file_is_kept(path: Path) -> None:
    version, before = rows(path)
    assert (version, len(before)) == (1, 18)

    with opened(path) as ledger:
        (migrated,) = migrations(ledger)

    assert rows(path) == (2, before)
    assert rows(copy_before_migration(path)) == (1, before)
    assert migrated.body == {
        "from": 1,
        "to": 2,
        "copy": str(path.with_name("dose.sqlite.v1")),
    }
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        with pytest.raises(sqlite3.IntegrityError, match="is never changed"):
            connection.execute("UPDATE events SET region = 'x'")
    with closing(sqlite3.connect(":memory:")) as new:
        fresh = path.with_name("fresh.sqlite")
        opened(fresh).close()
        new.execute("ATTACH ? AS fresh", (str(fresh),))
        new.execute("ATTACH ? AS moved", (str(path),))
        for name in ("events", "bookings"):
            # Rows are copied by position: to a backup, and to another site.
            assert columns(new, "fresh", name) == columns(new, "moved", name)
        assert objects(new, "fresh") == objects(new, "moved")


def migrations(ledger: DoseLedger) -> list[LedgerRow]:
    with ledger._file.reading() as connection:  # noqa: SLF001
        return list(find_rows(connection, "kind = 'migrate'"))


def columns(connection: sqlite3.Connection, schema: str, table: str) -> list[Any]:
    return connection.execute(f"PRAGMA {schema}.table_info({table})").fetchall()


def objects(connection: sqlite3.Connection, schema: str) -> list[Any]:
    return connection.execute(
        f"SELECT type, name, tbl_name FROM {schema}.sqlite_master ORDER BY 1, 2"
    ).fetchall()


def test_what_has_no_place_counts_everywhere_on_its_specimen(path: Path) -> None:
    with opened(path) as ledger:
        for region in ("region-1", "region-2", "another"):
            used = ledger.usage("nw-01", region)
            assert used.settled_e_per_nm2 == pytest.approx(2 * SETTLED)
            assert used.unsettled_e_per_nm2 == pytest.approx(TICKETS)
            assert used.reserved_e_per_nm2 == pytest.approx(TICKETS + SERIES)
        ledger.place_region("nw-01", "far", x_nm=1e5, y_nm=0, reason="a test")
        assert ledger.usage("nw-01", "far").settled_e_per_nm2 > SETTLED
        # The limit of a region whose place is unknown holds everywhere too.
        assert ledger.usage("nw-01", "far").limit_e_per_nm2 == 5e6
        assert ledger.usage("nw-02", "region-1").settled_e_per_nm2 == 0
        with pytest.raises(LedgerError, match="nothing is booked there that has"):
            ledger.fluence_map("nw-01")


def test_what_was_open_then_is_settled_released_and_closed_now(path: Path) -> None:
    with opened(path) as ledger:
        in_series, alone = ledger.open_tickets()

        settled = ledger.settle(in_series.ticket.uid, log(in_series, 3))
        ledger.release(
            alone.ticket.uid, reason="never armed", boot_id="boot-1", counter=3
        )
        (series,) = ledger.open_series_left()
        ledger.close_series(series.uid)

        used = ledger.usage("nw-01", "region-1")
        assert used.reserved_e_per_nm2 == 0
        assert used.settled_e_per_nm2 == pytest.approx(
            2 * SETTLED + settled.fluence_e_per_nm2
        )
        assert settled.prior_e_per_nm2 == pytest.approx(2 * SETTLED)
        assert settled.after_e_per_nm2 == pytest.approx(used.settled_e_per_nm2)
        # What comes from now on has its place.
        ledger.reserve(
            FRAME, current_pa=150, current_limit_pa=165, boot_id="boot-1", counter=3
        )
        cells = ledger.fluence_map("nw-01")
        assert cells.settled_e_per_nm2.min() == pytest.approx(used.settled_e_per_nm2)


def test_a_ticket_of_an_open_series_goes_back_to_it(path: Path) -> None:
    with opened(path) as ledger:
        before = ledger.usage("nw-01", "region-1")
        uid = ledger.open_tickets()[0].ticket.uid

        ledger.release(uid, reason="never armed", boot_id="boot-1", counter=2)

        used = ledger.usage("nw-01", "region-1")
        assert used.reserved_e_per_nm2 == before.reserved_e_per_nm2
        assert used.unsettled_e_per_nm2 < before.unsettled_e_per_nm2


def log(opened: OpenTicket, counter: int) -> ExposureResult:
    return ExposureResult(
        ticket_uid=opened.ticket.uid,
        outcome=Outcome.COMPLETE,
        charge_c=opened.ticket.max_charge_c / 2,
        beam_on_s=1,
        frames=1,
        counter=counter,
        boot_id="boot-1",
    )


def test_the_backup_follows(path: Path, tmp_path: Path) -> None:
    backup = tmp_path / "backup.sqlite"
    shutil.copy(path, backup)
    with opened(path, backup=backup) as ledger:
        opened_ticket = ledger.open_tickets()[0]
        settled = ledger.settle(opened_ticket.ticket.uid, log(opened_ticket, 3))

    assert settled.backup_problem == ""
    assert rows(backup) == rows(path)


def test_two_that_open_it_at_once_migrate_it_once(path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        ledgers = list(pool.map(lambda _: opened(path), range(4)))
    for ledger in ledgers:
        assert len(migrations(ledger)) == 1
        ledger.close()


@pytest.mark.parametrize("step", ["_copy", "_rebuild", "record"])
def test_who_dies_in_the_middle_leaves_version_1(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    before = rows(path)
    real = getattr(dose_migration, step)

    def die(*arguments: Any) -> None:
        real(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(dose_migration, step, die)
        with pytest.raises(KeyboardInterrupt):
            opened(path)

    assert rows(path) == before
    with opened(path) as ledger:
        assert len(ledger.unsettled()) == 2
    assert rows(path) == (2, before[1])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_nothing_is_changed_where_no_copy_can_be_written(path: Path) -> None:
    path.parent.chmod(0o500)
    try:
        with pytest.raises(LedgerError):
            opened(path)
    finally:
        path.parent.chmod(0o700)
    assert rows(path)[0] == 1


def test_a_copy_that_fails_is_said_and_nothing_is_changed(path: Path) -> None:
    before = rows(path)
    copy_before_migration(path).mkdir()

    with pytest.raises(LedgerError) as caught:
        opened(path)

    assert f"before it is brought up to date it is copied to {path}.v1" in str(
        caught.value
    )
    assert "Nothing was changed: free space there" in str(caught.value)
    assert rows(path) == before
    assert list(path.parent.glob("*.tmp")) == []


def test_the_budget_of_version_1_is_not_given_away_anew(path: Path) -> None:
    with opened(path) as ledger:
        ledger.set_limit("nw-01", "another", 4 * SETTLED, reason="a test")
        with pytest.raises(DoseRefused, match="of it by region-1"):
            ledger.reserve(
                FRAME.model_copy(update={"region": "another"}),
                current_pa=150,
                current_limit_pa=165,
                boot_id="boot-1",
                counter=2,
            )
