"""The file below the ledger: where it may lie, what it refuses, how it is copied."""

import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cryoline.acquisition import (
    append_only,
    append_only_backup,
    custody_backup,
    dose_schema,
)
from cryoline.acquisition.custody import CustodyRecord
from cryoline.acquisition.dose import DoseLedger
from cryoline.acquisition.dose_backup import restore
from cryoline.acquisition.errors import CustodyError, LedgerError
from cryoline.acquisition.file_system import file_system_of, network_file_system_of
from cryoline.devices.exposure import Exposure, ExposureResult, Outcome, Ticket

FRAME = Exposure(
    specimen="wire-1", width_px=512, height_px=512, pixel_nm=2.134, dwell_s=4e-6
)


def opened(path: Path, **options: Any) -> DoseLedger:
    return DoseLedger(path, limit_e_per_nm2=1e7, **options)


def reserve(ledger: DoseLedger, counter: int = 0) -> Ticket:
    return ledger.reserve(
        FRAME, current_pa=150, current_limit_pa=165, boot_id="b", counter=counter
    )


def result(ticket: Ticket, counter: int = 1) -> ExposureResult:
    return ExposureResult(
        ticket_uid=ticket.uid,
        outcome=Outcome.COMPLETE,
        charge_c=1e-10,
        beam_on_s=1,
        frames=1,
        counter=counter,
        boot_id="b",
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dose.sqlite"


def test_it_is_all_there_when_it_is_opened_again(path: Path) -> None:
    with opened(path) as ledger:
        ticket = reserve(ledger)
    with opened(path) as ledger:
        assert ledger.unsettled() == [ticket]
        settled = ledger.settle(ticket.uid, result(ticket))
    with opened(path) as ledger:
        used = ledger.usage("wire-1", "region-1")
        assert used.settled_e_per_nm2 == settled.fluence_e_per_nm2
        assert ledger.unsettled() == []


def test_every_commit_is_on_disk(path: Path) -> None:
    with opened(path) as ledger, ledger._file.writing() as connection:  # noqa: SLF001
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)


@pytest.mark.parametrize("table", ["events", "bookings"])
@pytest.mark.parametrize(
    "statement", ["UPDATE {} SET specimen = 'other'", "DELETE FROM {}"]
)
def test_no_row_is_ever_changed_or_deleted(
    path: Path, table: str, statement: str
) -> None:
    with opened(path) as ledger:
        reserve(ledger)

    with (
        closing(sqlite3.connect(path)) as connection,
        pytest.raises(sqlite3.IntegrityError, match="a row of the ledger is never"),
    ):
        connection.execute(statement.format(table))


def test_a_failure_in_the_middle_leaves_no_trace(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cryoline.acquisition.dose_tickets as tickets

    with opened(path) as ledger:
        monkeypatch.setattr(tickets, "book", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            reserve(ledger)
        monkeypatch.undo()

        assert ledger.history("wire-1") == []
        reserve(ledger)


def test_another_connection_that_holds_it_is_named_after_a_while(path: Path) -> None:
    with opened(path) as ledger, closing(sqlite3.connect(path)) as other:
        ledger._file = dose_schema.LedgerFile(path, timeout_s=0.1)  # noqa: SLF001
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError) as caught:
            reserve(ledger)
        other.rollback()

        assert str(caught.value) == (
            f"{path}: another process has held the dose ledger for 0.1 s, nothing was "
            "written; a session may be stopped in the middle of a step: continue or "
            "end it, then repeat"
        )
        reserve(ledger)


def test_threads_share_one_ledger(path: Path) -> None:
    with opened(path) as ledger:
        threads = [
            threading.Thread(target=lambda: [reserve(ledger) for _ in range(10)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(ledger.unsettled()) == 40


def test_a_forked_child_has_a_connection_of_its_own(path: Path) -> None:
    with opened(path) as ledger:
        reserve(ledger)
        pid = os.fork()
        if pid == 0:
            try:
                reserve(ledger)
            finally:
                os._exit(0)
        os.waitpid(pid, 0)

        assert len(ledger.unsettled()) == 2
        owners = [t.owner["pid"] for t in ledger.open_tickets()]
        assert owners == [os.getpid(), pid]
        assert [t.is_owner_alive for t in ledger.open_tickets()] == [True, False]


# What it refuses


def test_a_file_that_is_no_database(path: Path) -> None:
    path.write_text("this is a diary, not a database" * 10)

    with pytest.raises(LedgerError, match=r"is no dose ledger; restore it from"):
        opened(path)


def test_a_database_of_something_else(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE counters (name TEXT)")

    with pytest.raises(LedgerError, match=r"tables of something else \(counters\)"):
        opened(path)

    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 1")

    with pytest.raises(LedgerError, match="is an SQLite file, but no dose ledger"):
        opened(path)


def test_a_ledger_of_another_version(path: Path) -> None:
    opened(path).close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 7")

    with pytest.raises(LedgerError) as caught:
        opened(path)

    assert str(caught.value) == (
        f"{path}: a dose ledger of version 7, this cryoline reads version "
        f"{dose_schema.SCHEMA_VERSION}; install the cryoline that wrote it"
    )


def test_a_directory_that_is_not_there(path: Path) -> None:
    with pytest.raises(LedgerError, match=r"no directory .* for the dose ledger"):
        opened(path.parent / "missing" / "dose.sqlite")


def test_a_full_disk_reserves_nothing(path: Path) -> None:
    with opened(path) as ledger:
        ticket = reserve(ledger)
        with ledger._file.reading() as connection:  # noqa: SLF001
            (pages,) = connection.execute("PRAGMA page_count").fetchone()
        # SQLite itself says SQLITE_FULL then, as on a full disk.
        ledger._file._connection.execute(  # type: ignore[union-attr]  # noqa: SLF001
            f"PRAGMA max_page_count = {pages}"
        )

        def fill() -> None:
            for _ in range(100):
                reserve(ledger)

        with pytest.raises(LedgerError, match="its disk is full; free space"):
            fill()
        before = ledger.unsettled()
        with pytest.raises(LedgerError, match="its disk is full; free space"):
            reserve(ledger)

        assert ledger.unsettled() == before
        assert before[0] == ticket


def as_a_person(work: Callable[[], str]) -> str:
    """Return what work says in a process that is not root's."""
    return in_a_process(work, user=65534 if os.geteuid() == 0 else None)


def in_a_process(work: Callable[[], str], user: int | None = None) -> str:
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if user is not None:
                os.setgid(user)
                os.setuid(user)
            os.write(writing, work().encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return said


def said_by(work: Callable[[], Any]) -> str:
    try:
        work()
    except LedgerError as error:
        return str(error)
    return "nothing"


@pytest.fixture
def shared() -> Iterator[Path]:
    """Return a folder that anybody may look into, as pytest's are not."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_a_file_that_may_not_be_written_reserves_nothing(shared: Path) -> None:
    path = shared / "dose.sqlite"
    with opened(path) as ledger:
        reserve(ledger)
    path.chmod(0o444)
    before = path.read_bytes()

    # In a directory that may be written, and in one that may not.
    for mode in (0o777, 0o555):
        shared.chmod(mode)
        said = as_a_person(lambda: said_by(lambda: reserve(opened(path))))
        assert said == (
            f"{path}: the dose ledger can't be used (attempt to write a readonly "
            "database): it can't be written; check owner and permissions of the file "
            "and its directory"
        )
    shared.chmod(0o755)
    assert path.read_bytes() == before


def test_a_directory_that_may_not_be_written_makes_no_ledger(shared: Path) -> None:
    path = shared / "dose.sqlite"

    said = as_a_person(lambda: said_by(lambda: reserve(opened(path))))

    assert said == (
        f"{path}: the dose ledger can't be used (unable to open database file): it "
        "can't be opened; check that its directory exists and is yours"
    )
    assert not path.exists()


def test_a_file_that_may_not_grow_reserves_and_charges_nothing(path: Path) -> None:
    """A quota: the write fails with EFBIG, which is no full disk for SQLite."""
    with opened(path) as ledger:
        first = reserve(ledger)
        used = ledger.usage("wire-1", "region-1")

    def fill() -> str:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        said = []
        with opened(path) as ledger:
            size = path.with_name("dose.sqlite-wal").stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 4096,) * 2)
            said.append(said_by(lambda: [reserve(ledger) for _ in range(50)]))
            said.append(said_by(lambda: ledger.settle(first.uid, result(first))))
        return "\n".join(said)

    for text in in_a_process(fill).split("\n"):
        assert text == (
            f"{path}: the dose ledger can't be used (disk I/O error): its disk failed; "
            "check the disk before the next exposure"
        )
    with opened(path) as ledger:
        assert first in ledger.unsettled()
        assert ledger.usage("wire-1", "region-1").settled_e_per_nm2 == 0
        assert ledger.usage("wire-1", "region-1").unsettled_e_per_nm2 >= (
            used.unsettled_e_per_nm2
        )


FULL = """
import os, sys
from pathlib import Path
from test_dose_file import opened, reserve, result, said_by
path = Path(sys.argv[1]) / "dose.sqlite"
with opened(path) as ledger:
    first = reserve(ledger)
    with open(path.with_name("ballast"), "wb", buffering=0) as ballast:
        try:
            while ballast.write(bytes(4096)): pass
        except OSError:
            pass
    print(said_by(lambda: [reserve(ledger) for _ in range(50)]))
    before = ledger.unsettled()
    print(said_by(lambda: ledger.settle(first.uid, result(first))))
    used = ledger.usage("wire-1", "region-1")
    print(ledger.unsettled() == before, used.settled_e_per_nm2)
    path.with_name("ballast").unlink()
    ledger.settle(first.uid, result(first))
    print(ledger.usage("wire-1", "region-1").settled_e_per_nm2 > 0)
"""


def may_mount() -> bool:
    return (
        subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode == 0
    )


@pytest.mark.skipif(not may_mount(), reason="no file system of its own may be mounted")
def test_a_truly_full_disk_reserves_and_charges_nothing(tmp_path: Path) -> None:
    mount = f'mount -t tmpfs -o size=512k full {tmp_path} && exec "$@"'
    done = subprocess.run(
        [
            "unshare",
            "-rm",
            "sh",
            "-c",
            mount,
            "sh",
            sys.executable,
            "-c",
            FULL,
            tmp_path,
        ],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        timeout=60,
    )

    full = (
        f"{tmp_path}/dose.sqlite: the dose ledger can't be used (database or disk is "
        "full): its disk is full; free space, then repeat"
    )
    assert done.stdout.splitlines() == [full, full, "True 0.0", "True"], done.stderr


def test_a_clock_that_jumps_back_changes_no_order(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row's time is for people; what came first is what was committed first."""
    times = iter(range(2_000_000_000, 0, -10_000_000))
    monkeypatch.setattr(
        "cryoline.acquisition.dose_book.time.time", lambda: float(next(times))
    )
    with opened(path) as ledger:
        priors = []
        for n in range(3):
            ticket = reserve(ledger, n)
            settlement = ledger.settle(ticket.uid, result(ticket, n + 1))
            priors.append(settlement.prior_e_per_nm2)
            each = settlement.fluence_e_per_nm2
        assert priors == [pytest.approx(n * each) for n in range(3)]
        assert ledger.last_seen() == ("b", 3)
        for limit in (5e6, 3e6, 4e6):
            ledger.set_limit("wire-1", "region-1", limit, reason="seen")
        assert ledger.usage("wire-1", "region-1").limit_e_per_nm2 == 4e6
        ticket = reserve(ledger, 3)
        ledger.settle(ticket.uid, result(ticket, 4).model_copy(update={"charge_c": 1}))
        ledger.acknowledge("wire-1", "region-1", reason="seen")
        assert not ledger.usage("wire-1", "region-1").is_blocked
        assert ledger.unsettled() == []
        rows = ledger.history("wire-1")

    assert [row.time_s for row in rows] == sorted(
        (r.time_s for r in rows), reverse=True
    )
    assert [row.kind for row in rows][-3:] == ["reserve", "settle", "acknowledge"]


MOUNTS = r"""
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
30 22 0:31 / /home rw shared:1 - nfs4 server:/home rw
31 30 8:2 / /home/fast rw - xfs /dev/sdb1 rw
32 22 0:33 / /mnt/my\040share rw - cifs //server/share rw
33 22 0:34 / /mnt/my\040share/usb rw - vfat /dev/sdc1 rw
34 22 0:35 / /mnt/far rw - ext4 /dev/sdd1 rw
35 34 0:36 / /mnt/far rw - fuse.sshfs host: rw
""".strip()


@pytest.mark.parametrize(
    ("path", "kind", "network"),
    [
        ("/data/dose.sqlite", "ext4", None),
        ("/home/me/dose.sqlite", "nfs4", "nfs4"),
        ("/homes/me/dose.sqlite", "ext4", None),
        ("/home/fast/dose.sqlite", "xfs", None),
        ("/mnt/my share/dose.sqlite", "cifs", "cifs"),
        ("/mnt/my share/usb/dose.sqlite", "vfat", None),
        ("/mnt/far/dose.sqlite", "fuse.sshfs", "fuse.sshfs"),
    ],
)
def test_the_mount_that_holds_a_path_decides(
    tmp_path: Path, path: str, kind: str, network: str | None
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS)

    assert file_system_of(Path(path), mounts) == kind
    assert network_file_system_of(Path(path), mounts) == network
    assert file_system_of(Path(path), tmp_path / "no-such-file") == ""


def test_a_network_file_system_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(append_only, "network_file_system_of", lambda _: "nfs4")

    with pytest.raises(LedgerError) as caught:
        opened(path)

    assert str(caught.value) == (
        f"{path}: is on a network file system (nfs4), where SQLite can't keep a dose "
        "ledger that nothing can overspend; name a file on a local disk as dose.ledger "
        "in instrument.toml, and the network one as dose.backup"
    )
    assert not path.exists()


# The backup


def test_the_backup_is_a_whole_ledger_after_each_charge(
    path: Path, tmp_path: Path
) -> None:
    backup = tmp_path / "elsewhere.sqlite"
    with opened(path, backup=backup) as ledger:
        for n in range(3):
            ticket = reserve(ledger, n)
            assert ledger.settle(ticket.uid, result(ticket, n + 1)).backup_problem == ""
            with opened(backup) as copy:
                assert copy.usage("wire-1", "region-1") == ledger.usage(
                    "wire-1", "region-1"
                )
    assert [p.name for p in tmp_path.glob("*.tmp")] == []


def test_a_session_waits_for_no_copy_and_ends_with_a_whole_one(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = tmp_path / "elsewhere.sqlite"
    may_copy, copying = threading.Event(), append_only_backup.back_up

    def held_up(*files: Any) -> None:
        assert may_copy.wait(10)
        copying(*files)

    monkeypatch.setattr(append_only_backup, "back_up", held_up)
    with opened(path, backup=backup, copies_in_background=True) as ledger:
        for n in range(3):
            ticket = reserve(ledger, n)
            ledger.settle(ticket.uid, result(ticket, n + 1))
        assert ledger.unsettled() == []
        assert not backup.exists()
        may_copy.set()
    assert rows(backup) == rows(path)


def test_a_copy_that_failed_in_the_background_is_said_with_the_next_charge(
    path: Path, tmp_path: Path
) -> None:
    backup = tmp_path / "absent" / "elsewhere.sqlite"
    with opened(path, backup=backup, copies_in_background=True) as ledger:
        first = reserve(ledger)
        ledger.settle(first.uid, result(first, 1))
        assert ledger._copy is not None  # noqa: SLF001
        ledger._copy.finish()  # noqa: SLF001
        second = reserve(ledger, 1)
        settled = ledger.settle(second.uid, result(second, 2))
    assert "could not be renewed" in settled.backup_problem


def test_a_full_backup_disk_is_said_and_the_charge_stands(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = tmp_path / "elsewhere.sqlite"
    with opened(path, backup=backup) as ledger:
        first, second = reserve(ledger), reserve(ledger)
        ledger.settle(first.uid, result(first, 1))
        whole = backup.read_bytes()
        connect = append_only_backup.connect

        def full(path: Path, options: str) -> sqlite3.Connection:
            # SQLite itself says then what it says on a full disk.
            connection = connect(path, options)
            connection.execute("PRAGMA max_page_count = 1")
            return connection

        monkeypatch.setattr(append_only_backup, "connect", full)
        counter = 2
        while not (
            settled := ledger.settle(second.uid, result(second, counter))
        ).backup_problem:
            whole = backup.read_bytes()
            second = reserve(ledger, counter)
            counter += 1
        assert settled.backup_problem == (
            f"dose: the dose ledger's backup {backup} could not be renewed (database "
            "or disk is full); the dose ledger itself is safe. Free space there, or "
            "name another place as dose.backup"
        )
        assert ledger.unsettled() == []
        assert backup.read_bytes() == whole
        assert list(tmp_path.glob("*.tmp")) == []
        monkeypatch.undo()
        third = reserve(ledger, counter)
        settled = ledger.settle(third.uid, result(third, counter + 1))
        assert settled.backup_problem == ""
        assert rows(backup) == rows(path)


def rows(path: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return [
            row
            for table in ("events", "bookings")
            for row in connection.execute(f"SELECT * FROM {table} ORDER BY id")
        ]


def test_a_charge_appends_to_the_backup_and_does_not_copy_it_all(
    path: Path, tmp_path: Path
) -> None:
    backup = tmp_path / "elsewhere.sqlite"
    with opened(path, backup=backup) as ledger:
        inodes = set()
        for n in range(4):
            reserve(ledger, n)
            ticket = reserve(ledger, n)
            ledger.settle(ticket.uid, result(ticket, n + 1))
            inodes.add(backup.stat().st_ino)
            assert rows(backup) == rows(path)

    assert len(inodes) == 1
    assert {p.name for p in tmp_path.glob("elsewhere.sqlite*")} == {
        "elsewhere.sqlite",
        "elsewhere.sqlite.lock",
    }


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 50])
def test_a_backup_that_is_no_copy_is_made_anew(
    path: Path, tmp_path: Path, content: bytes
) -> None:
    backup = tmp_path / "elsewhere.sqlite"
    with opened(path, backup=backup) as ledger:
        backup.write_bytes(content)
        ticket = reserve(ledger)
        assert ledger.settle(ticket.uid, result(ticket)).backup_problem == ""

        assert rows(backup) == rows(path)


def test_a_backup_without_a_directory_is_said_at_the_first_charge(path: Path) -> None:
    with opened(path, backup=path.parent / "gone" / "dose.sqlite") as ledger:
        ticket = reserve(ledger)
        settled = ledger.settle(ticket.uid, result(ticket))

        assert "could not be renewed" in settled.backup_problem
        assert ledger.unsettled() == []


def test_a_lost_ledger_is_not_begun_anew_beside_its_backup(
    path: Path, tmp_path: Path
) -> None:
    backup = tmp_path / "elsewhere.sqlite"
    with opened(path, backup=backup) as ledger:
        first = reserve(ledger)
        ledger.settle(first.uid, result(first, 1))
        old = tmp_path / "old.sqlite"
        shutil.copy(backup, old)
        second = reserve(ledger, 1)
        ledger.settle(second.uid, result(second, 2))
        used = ledger.usage("wire-1", "region-1")
    path.unlink()

    with pytest.raises(LedgerError) as lost:
        opened(path, backup=backup)
    assert not path.exists()
    shutil.copy(old, path)
    with pytest.raises(LedgerError) as older:
        opened(path, backup=backup)

    assert str(lost.value) == str(older.value)
    assert str(lost.value) == (
        f"{path}: is missing, or older than its backup {backup}, which holds 4 rows: "
        "what was charged since would be forgotten. End every session, then: cryoline "
        f"dose restore --from {backup}"
    )
    restore(path, backup)
    with opened(path, backup=backup) as ledger:
        assert ledger.usage("wire-1", "region-1") == used


# The way back


def copied(path: Path, backup: Path) -> None:
    """Make a ledger of one charge, and its backup."""
    with opened(path, backup=backup) as ledger:
        ticket = reserve(ledger)
        ledger.settle(ticket.uid, result(ticket))


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    return tmp_path / "elsewhere.sqlite"


def test_a_damaged_ledger_is_restored_and_kept_aside(path: Path, backup: Path) -> None:
    copied(path, backup)
    before = rows(path)
    damaged = b"the disk wrote something else" * 100
    path.write_bytes(damaged)
    path.with_name("dose.sqlite-wal").write_bytes(b"of the old one")

    done = restore(path, backup)

    assert done.rows == 2
    assert [p.name.split("-", 1)[1][15:] for p in done.aside] == ["-wal", ""]
    assert done.aside[-1].read_bytes() == damaged
    assert rows(path) == before
    with opened(path, backup=backup) as ledger:
        reserve(ledger, 1)


def test_a_ledger_with_more_rows_than_its_backup_stays(
    path: Path, backup: Path
) -> None:
    copied(path, backup)
    with opened(path) as ledger:
        reserve(ledger, 1)
    before = rows(path)

    with pytest.raises(LedgerError) as caught:
        restore(path, backup)

    assert str(caught.value) == (
        f"{path}: holds 1 row that {backup} lacks, and what was charged since would be "
        "forgotten with them; nothing was restored. It needs no restoring; if it is "
        "the wrong one, put it elsewhere first"
    )
    assert rows(path) == before


def test_a_ledger_in_use_or_whole_is_not_restored(path: Path, backup: Path) -> None:
    copied(path, backup)
    with opened(path) as ledger:
        ledger.unsettled()
        with pytest.raises(LedgerError, match="uses the dose ledger; end every one"):
            restore(path, backup)

    with pytest.raises(LedgerError, match="is whole; there is nothing to restore"):
        restore(path, backup)
    assert [p.name for p in path.parent.glob("*aside*")] == []


@pytest.mark.parametrize("content", [None, b"", b"cut" * 999, "custody"])
def test_only_a_whole_copy_of_a_ledger_is_put_into_its_place(
    path: Path, backup: Path, content: bytes | str | None
) -> None:
    copied(path, backup)
    before = rows(path)
    if content is None:
        backup.unlink()
    elif content == "custody":
        backup.unlink()
        CustodyRecord(backup).close()
    elif isinstance(content, bytes):
        backup.write_bytes(content)

    with pytest.raises(LedgerError, match=r"is no whole copy of a dose ledger \("):
        restore(path, backup)

    assert rows(path) == before


def test_the_custody_record_has_its_copy_and_its_way_back(tmp_path: Path) -> None:
    path, backup = tmp_path / "custody.sqlite", tmp_path / "copy.sqlite"
    with CustodyRecord(path, backup=backup) as record:
        record.register("wafer-1")
        record.flag("wafer-1", "frost", "ice")
    path.unlink()

    with pytest.raises(CustodyError) as caught:
        CustodyRecord(path, backup=backup)

    assert str(caught.value) == (
        f"{path}: is missing, or older than its backup {backup}, which holds 2 rows: "
        "what specimens have suffered since would be forgotten. End every session, "
        f"then: cryoline sample restore --from {backup}"
    )
    custody_backup.restore(path, backup)
    with CustodyRecord(path, backup=backup) as record:
        assert record.state("wafer-1").flags == ("frost",)


def test_a_custody_record_without_a_place_for_its_copy_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backup = tmp_path / "gone" / "custody.sqlite"
    with CustodyRecord(tmp_path / "custody.sqlite", backup=backup) as record:
        record.register("wafer-1")

        assert record.knows("wafer-1")
    assert f"the custody record's backup {backup} could not be renewed" in caplog.text
