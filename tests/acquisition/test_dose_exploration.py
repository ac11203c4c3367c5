"""Every order in which sessions can meet at the ledger, and every moment to die in.

The sessions run the real ledger and the real reconciliation, each in a thread that
the explorer holds at each step: before a transaction, before its commit, after it,
and before whatever is asked of the beam. From each state every choice is tried once:
who goes on, who is killed, whether the power fails, whether a wait is given up,
whether the beam is restarted. States that were met before are not followed again.

What is on disk after a power cut is not guessed: SQLite runs on a file system layer
(VFS) of ours, which keeps what each file held when it was last synced.
"""

import ctypes
import os
import shutil
import sqlite3
import tempfile
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import pytest

from cryoline.acquisition import dose_book, dose_queries, dose_reconcile, dose_tickets
from cryoline.acquisition.append_only import AppendOnlyFile
from cryoline.acquisition.dose import DoseLedger
from cryoline.acquisition.dose_reconcile import reconcile
from cryoline.acquisition.dose_records import OpenSeries, OpenTicket, Settlement
from cryoline.acquisition.errors import DoseRefused, LedgerError
from cryoline.acquisition.fluence import fluence_of_charge_e_per_nm2
from cryoline.devices.exposure import Exposure, ExposureResult, Outcome, Ticket

# Memory, if there is some: what is durable is counted by our own layer.
FOLDER = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
pytestmark = pytest.mark.timeout(300)  # the computer may be busy
FRAME = Exposure(
    specimen="wire-1", width_px=256, height_px=256, pixel_nm=2.0, dwell_s=1e-5
)
CURRENT_PA = 150.0
WORST = fluence_of_charge_e_per_nm2(165e-12 * FRAME.beam_on_s, FRAME.area_nm2)
LIMIT = 2 * WORST + 0.01
"""For two exposures of the three that the sessions want to make."""


# What survives a power cut -----------------------------------------------------------

_POINTER = ctypes.c_void_p
_OPEN = ctypes.CFUNCTYPE(
    ctypes.c_int, _POINTER, _POINTER, _POINTER, ctypes.c_int, _POINTER
)
_WRITE = ctypes.CFUNCTYPE(
    ctypes.c_int, _POINTER, _POINTER, ctypes.c_int, ctypes.c_int64
)
_SYNC = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER, ctypes.c_int)


class _Vfs(ctypes.Structure):
    """The head of sqlite3_vfs, and the rest of it."""

    _fields_: ClassVar = [
        ("version", ctypes.c_int),
        ("file_size", ctypes.c_int),
        ("path_max", ctypes.c_int),
        ("next", _POINTER),
        ("name", ctypes.c_char_p),
        ("data", _POINTER),
        ("open", _POINTER),
        ("rest", _POINTER * 15),
    ]


class _Methods(ctypes.Structure):
    """sqlite3_io_methods: close, read, write, truncate, sync, and the rest."""

    _fields_: ClassVar = [("version", _POINTER), ("method", _POINTER * 18)]


_WRITES, _SYNCS = 2, 4


class Disk:
    """A layer between SQLite and its files, which knows what was synced."""

    def __init__(self) -> None:
        with open("/proc/self/maps", encoding="utf-8") as maps:
            names = {line.split()[-1] for line in maps if "libsqlite3" in line}
        if not names:
            pytest.skip("this Python has SQLite linked into itself")
        self._library = ctypes.CDLL(names.pop())
        self._library.sqlite3_vfs_find.restype = ctypes.POINTER(_Vfs)
        self._library.sqlite3_vfs_find.argtypes = [ctypes.c_char_p]
        self._before = self._library.sqlite3_vfs_find(None)
        self._open = _OPEN(self._before.contents.open)
        self._methods: dict[int, tuple[_Methods, Any, Any]] = {}
        self._paths: dict[int, Path] = {}
        self.synced: dict[Path, bytes] = {}
        """What each file held when it was last synced."""
        self.at_write: Callable[[Path], None] = lambda path: None
        """Told before each write to a file, and before each sync."""
        self._callback = _OPEN(self._opened)
        self._vfs = _Vfs.from_buffer_copy(self._before.contents)
        self._vfs.open = ctypes.cast(self._callback, _POINTER).value
        self._vfs.name = b"power-cut"

    @contextmanager
    def watched(self) -> Iterator["Disk"]:
        """Let every file that is opened now be of this disk."""
        self._library.sqlite3_vfs_register(ctypes.byref(self._vfs), 1)
        try:
            yield self
        finally:
            self._library.sqlite3_vfs_register(self._before, 1)
            self._library.sqlite3_vfs_unregister(ctypes.byref(self._vfs))

    def image(self, path: Path) -> dict[str, bytes]:
        """Return what a power cut leaves of a database: suffix and content."""
        files = {s: self.synced.get(Path(f"{path}{s}")) for s in ("", "-wal")}
        return {s: content for s, content in files.items() if content is not None}

    def _opened(self, vfs: Any, name: Any, file: Any, flags: int, out: Any) -> int:
        code = int(self._open(vfs, name, file, flags, out))
        if code == 0 and name:
            slot = ctypes.cast(file, ctypes.POINTER(_POINTER))
            slot[0] = ctypes.addressof(self._watch(slot[0] or 0))
            path = Path(os.fsdecode(ctypes.string_at(name)))
            self._paths[file] = path
            if path.exists():
                self.synced.setdefault(path, path.read_bytes())
        return code

    def _watch(self, address: int) -> _Methods:
        if address not in self._methods:
            watching = _Methods.from_buffer_copy(_Methods.from_address(address))
            write, sync = (
                _WRITE(watching.method[_WRITES]),
                _SYNC(watching.method[_SYNCS]),
            )

            def on_write(file: Any, data: Any, size: int, offset: int) -> int:
                self.at_write(self._paths[file])
                return int(write(file, data, size, offset))

            def on_sync(file: Any, flags: int) -> int:
                path = self._paths[file]
                self.at_write(path)
                code = int(sync(file, flags))
                self.synced[path] = path.read_bytes()
                return code

            kept = _WRITE(on_write), _SYNC(on_sync)
            watching.method[_WRITES] = ctypes.cast(kept[0], _POINTER).value
            watching.method[_SYNCS] = ctypes.cast(kept[1], _POINTER).value
            self._methods[address] = (watching, *kept)
        return self._methods[address][0]


# The world of one execution ----------------------------------------------------------


class Killed(BaseException):
    """What a session dies of; it does no step more."""


class Session:
    """A program in a thread of its own, which goes on when it is told to."""

    here = threading.local()

    def __init__(self, name: str, life: Callable[["Session"], None]) -> None:
        self.name = name
        self.label = "start"
        self.may_go: Callable[[], bool] = lambda: True
        self.may_give_up = False
        self.is_killed = self.has_ended = False
        self.failure: BaseException | None = None
        self.seen: list[Any] = []
        """All that its further way can depend on."""
        self.answer = ""
        self.living: Callable[[], tuple[str, ...]] = tuple
        """Which sessions are alive, as the operating system knows."""
        self._life = life
        self._go, self._held = threading.Lock(), threading.Lock()
        self._go.acquire()
        self._held.acquire()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        Session.here.session = self
        self._go.acquire()
        try:
            if not self.is_killed:
                self._life(self)
        except Killed:
            pass
        except BaseException as error:
            self.failure = error
        self.has_ended = True
        self.label = "dead" if self.is_killed else "ended"
        self._held.release()

    def at(self, label: str) -> None:
        """Stop here until the explorer says who goes on."""
        if self.is_killed:
            raise Killed
        self.label = label
        self._held.release()
        self._go.acquire()
        if self.is_killed:
            raise Killed

    def step(self, answer: str = "") -> None:
        """Let it go on to its next step, or its end."""
        self.answer = answer
        self._go.release()
        self._held.acquire()
        if self.failure is not None:
            raise self.failure

    def kill(self) -> None:
        """Let it end where it stands."""
        if not self.has_ended:
            self.is_killed = True
            self.step()
            self._thread.join()

    @property
    def key(self) -> tuple[Any, ...]:
        return self.label, tuple(self.seen) if not self.has_ended else ()


@dataclass
class Beam:
    """The instrument: one exposure at a time, its own log, and the truth."""

    boot: int = 1
    counter: int = 0
    armed: Ticket | None = None
    exposing: Ticket | None = None
    holder: str = ""
    log: dict[int, ExposureResult] = field(default_factory=dict)
    truth: float = 0.0
    """e/nm2 that have hit the field, or can no longer be kept from it."""

    @property
    def boot_id(self) -> str:
        return f"boot-{self.boot}"

    def start(self) -> None:
        if self.armed is not None:
            self.exposing, self.armed = self.armed, None
            charge_c = self.exposing.max_charge_c
            self.truth += fluence_of_charge_e_per_nm2(charge_c, FRAME.area_nm2)

    def end(self) -> None:
        assert self.exposing is not None
        self.counter += 1
        self.log[self.counter] = ExposureResult(
            ticket_uid=self.exposing.uid,
            outcome=Outcome.COMPLETE,
            charge_c=self.exposing.max_charge_c,
            beam_on_s=FRAME.beam_on_s,
            frames=1,
            counter=self.counter,
            boot_id=self.boot_id,
        )
        self.exposing = None

    def restart(self) -> None:
        """Lose the log, the count and what is armed; what has hit has hit."""
        self.boot += 1
        self.counter, self.log, self.armed, self.exposing = 0, {}, None, None

    @property
    def key(self) -> tuple[Any, ...]:
        uids = [ticket and ticket.uid for ticket in (self.armed, self.exposing)]
        log = [(n, record.ticket_uid) for n, record in self.log.items()]
        return self.boot, self.counter, self.holder, *uids, *log


class _Answers:
    """A ledger of which all answers are written down, as the session's memory."""

    def __init__(self, ledger: DoseLedger, session: Session) -> None:
        self._ledger, self._session = ledger, session

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._ledger, name)
        if not callable(found):
            return found

        def ask(*args: Any, **kwargs: Any) -> Any:
            try:
                answer = found(*args, **kwargs)
            except (DoseRefused, LedgerError) as error:
                self._session.seen.append((name, type(error)))
                raise
            self._session.seen.append((name, _plain(answer)))
            return answer

        return ask


def _plain(answer: Any) -> Any:
    """Return an answer of the ledger without what differs in every execution."""
    if isinstance(answer, list):
        return tuple(_plain(part) for part in answer)
    if isinstance(answer, OpenTicket):
        return answer.ticket.uid, answer.is_owner_alive, answer.reason
    if isinstance(answer, OpenSeries):
        return answer.uid, answer.is_owner_alive
    if isinstance(answer, Settlement):
        return answer.ticket_uid
    return answer.uid if isinstance(answer, Ticket) else answer


class Seat:
    """A session's hands on beam and ledger; what `reconcile` asks as well."""

    def __init__(self, world: "World", session: Session) -> None:
        self._world, self._session = world, session
        self.beam = world.beam
        ledger = DoseLedger(world.path, limit_e_per_nm2=LIMIT)
        world.ledgers[session.name] = ledger
        self.ledger: Any = _Answers(ledger, session)

    def _ask(self, label: str, answer: Callable[[], Any]) -> Any:
        self._session.at(label)
        told = answer()
        self._session.seen.append((label, str(told)))
        return told

    def armed(self) -> str:
        def asked() -> str:
            ticket = self.beam.armed or self.beam.exposing
            return ticket.uid if ticket else ""

        return str(self._ask("armed", asked))

    def position(self) -> tuple[str, int]:
        boot_id, counter = self._ask(
            "position", lambda: (self.beam.boot_id, self.beam.counter)
        )
        return boot_id, counter

    def logged(self, counter: int) -> ExposureResult | None:
        # At once after the counter: a record is there before it, and stays.
        return self.beam.log.get(counter)

    def arm(self, ticket: Ticket) -> bool:
        def armed() -> bool:
            if self.beam.armed or self.beam.exposing:
                return False
            self.beam.armed, self.beam.holder = ticket, self._session.name
            return True

        return bool(self._ask("arm", armed))

    def start(self) -> None:
        self._ask("trigger", self.beam.start)

    def forget(self, *, but: object = None) -> None:
        """Say that all that was asked so far plays no part any more."""
        self._session.seen[:] = [str(but)]

    def outcome(self, ticket: Ticket) -> ExposureResult | None:
        """Return what was counted by a ticket; None if the wait is given up."""

        def found() -> ExposureResult | None:
            if self._session.answer == "give up":
                return None
            records = self.beam.log.values()
            return next((r for r in records if r.ticket_uid == ticket.uid), None)

        before = self._session.may_go
        self._session.may_give_up = True
        self._session.may_go = lambda: self.beam.exposing is not ticket
        result: ExposureResult | None = self._ask("look", found)
        self._session.may_give_up, self._session.may_go = False, before
        return result


def life(seat: Seat, *, leaves_it: bool = False, series: str | None = None) -> None:
    """Expose once, as `expose` and the guard do."""
    boot_id, counter = seat.position()
    try:
        ticket = seat.ledger.reserve(
            FRAME,
            current_pa=CURRENT_PA,
            current_limit_pa=1.1 * CURRENT_PA,
            boot_id=boot_id,
            counter=counter,
            series=series,
        )
    except (DoseRefused, LedgerError):
        return
    seat.forget(but=ticket.uid)
    result = None
    if seat.arm(ticket):
        seat.start()
        result = seat.outcome(ticket)
    if result is not None:
        seat.ledger.settle(ticket.uid, result)
    elif not leaves_it:
        seat.forget()
        reconcile(seat.ledger, seat, release_own=True)


def halted_life(seat: Seat) -> None:
    """Expose once; if that fails, leave the ticket behind, as a halt does."""
    life(seat, leaves_it=True)


def series_life(seat: Seat) -> None:
    """Expose once within a series' envelope that has room for a re-take."""
    series = seat.ledger.open_series([FRAME, FRAME], current_limit_pa=165.0)
    life(seat, series=series)
    seat.ledger.close_series(series)


def next_life(seat: Seat) -> None:
    """Begin anew after a crash: reconcile, then expose."""
    reconcile(seat.ledger, seat)
    seat.forget()
    life(seat)


def onlooker(seat: Seat) -> None:
    """Reconcile while others expose, as a person may in a shell."""
    reconcile(seat.ledger, seat)


Choice = tuple[str, str]


@dataclass(frozen=True)
class Scenario:
    """Who is there, and how often something may go wrong."""

    lives: tuple[Callable[[Seat], None], ...]
    """Of the sessions that begin at once."""
    crashes: int = 0
    """Sessions killed, or cuts of the power; a further session begins then."""
    gives_up: int = 0
    restarts: int = 0
    """Of the instrument."""
    afterwards: Callable[[Seat], None] = next_life
    """Of the session that begins after a crash."""
    in_turn: bool = False
    """Whether it is only when nobody else is left that the further session goes on."""
    is_exact: bool = False
    """Whether two ledgers are equal only if they hold equal rows in equal order."""


class World:
    """One execution: ledger file, beam and sessions, and what may come next."""

    def __init__(self, scenario: Scenario, disk: Disk, template: bytes) -> None:
        self.scenario = scenario
        self.disk = disk
        self.folder = Path(tempfile.mkdtemp(dir=FOLDER))
        self.path = self.folder / "dose.sqlite"
        self.path.write_bytes(template)
        disk.synced.clear()
        self.beam = Beam()
        self.ledgers: dict[str, DoseLedger] = {}
        self.crashes = self.gives_up = self.restarts = 0
        self.sessions = {
            name: self._session(name, a_life)
            for name, a_life in zip("ABC", scenario.lives, strict=False)
        }
        self._monitor = self._watch()

    def _session(self, name: str, a_life: Callable[[Seat], None]) -> Session:
        session = Session(name, lambda session: a_life(Seat(self, session)))
        session.living = self.living
        session.step()  # to the first that others could notice
        return session

    def living(self) -> tuple[str, ...]:
        return tuple(n for n, s in self.sessions.items() if not s.has_ended)

    def _watch(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None)
        self._version = -1
        self._content: tuple[Any, ...] = ()
        return connection

    def close(self) -> None:
        for name in self.sessions:
            self._kill(name)
        self._monitor.close()
        shutil.rmtree(self.folder)

    # What may happen now.

    def choices(self) -> list[Choice]:
        living = [s for s in self.sessions.values() if not s.has_ended]
        writing = [s for s in living if s.label in ("commit", "committed")]
        # In a transaction nobody else can write, and what others read or do at the
        # beam does not depend on it: it is as if they did so before. After it, the
        # session is with itself until its next step.
        may_move = writing or living
        found = [(s.name, "go") for s in may_move if s.may_go()]
        if self.crashes < self.scenario.crashes:
            found += [(s.name, "kill") for s in may_move]
            found += [("host", "cut")]
        if writing:
            return found
        if self.gives_up < self.scenario.gives_up:
            found += [(s.name, "give up") for s in living if s.may_give_up]
        if self.beam.exposing is not None:
            found += [("beam", "end")]
        if self.beam.armed is not None and self.sessions[self.beam.holder].is_killed:
            found += [("beam", "disarm")]
        if self.restarts < self.scenario.restarts:
            found += [("beam", "restart")]
        return found

    def take(self, choice: Choice) -> None:
        who, what = choice
        if who == "beam":
            if what == "disarm":
                self.beam.armed = None
            else:
                self.restarts += what == "restart"
                getattr(self.beam, what)()
        elif who == "host":
            self._cut_the_power()
        elif what == "kill":
            self.crashes += 1
            self._kill(who)
            self._begin_anew()
        else:
            session = self.sessions[who]
            self.gives_up += what == "give up"
            session.step(what)

    def _kill(self, name: str) -> None:
        self.sessions[name].kill()
        if name in self.ledgers:
            self.ledgers.pop(name).close()

    def _begin_anew(self) -> None:
        name = "XYZ"[self.crashes - 1]
        session = self.sessions[name] = self._session(name, self.scenario.afterwards)
        if self.scenario.in_turn:
            session.may_go = lambda: self.living() == (name,)

    def _cut_the_power(self) -> None:
        """Kill all sessions; of the file only what was synced remains."""
        self.crashes += 1
        image = self.disk.image(self.path)
        for name in self.sessions:
            self._kill(name)
        self._monitor.close()
        self.path = self.folder / f"after-{self.crashes}.sqlite"
        for suffix, content in image.items():
            Path(f"{self.path}{suffix}").write_bytes(content)
        self._monitor = self._watch()
        self._begin_anew()

    # What is so.

    def content(self) -> tuple[Any, ...]:
        """Return what the ledger holds, without what differs in every execution."""
        (version,) = self._monitor.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            self._version = version
            events = self._monitor.execute(
                "SELECT kind, ticket, series, boot_id, counter, over FROM events "
                "ORDER BY id"
            ).fetchall()
            if not self.scenario.is_exact:
                events = [*sorted(set(events), key=str), _last_seen(events)]
            sums = self._monitor.execute(
                "SELECT ticket, account, sum(milli_e_per_nm2) FROM bookings "
                "GROUP BY 1, 2 ORDER BY 1, 2"
            ).fetchall()
            self._content = (tuple(events), tuple(sums))
        return self._content

    def key(self) -> tuple[Any, ...]:
        return (
            self.crashes,
            self.gives_up,
            self.restarts,
            self.beam.key,
            self.content(),
            *(session.key for session in self.sessions.values()),
        )

    def check(self) -> None:
        """Raise AssertionError if less is counted than was shot, or more allowed."""
        _, sums = self.content()
        accounts: Counter[str] = Counter()
        for _, account, milli in sums:
            accounts[account] += milli
        assert all(milli >= 0 for milli in accounts.values()), "a negative account"
        counted = accounts.total() / 1000
        assert counted >= self.beam.truth - 1e-6, "less is counted than was shot"
        assert counted <= LIMIT, "more is counted than the limit"
        assert self.beam.truth <= LIMIT, "more was shot than the limit"


def _last_seen(events: list[tuple[Any, ...]]) -> tuple[str, int] | None:
    """Return all that the ledger makes of the order of its rows."""
    kinds = [event[0] for event in events]
    start = max((k for k, kind in enumerate(kinds) if kind == "reconcile"), default=0)
    told = [e for e in events if e[0] in ("reserve", "release", "reconcile")]
    if not told:
        return None
    boot_id = told[-1][3]
    return boot_id, max(n for *_, boot, n, _ in events[start:] if boot == boot_id)


@dataclass
class Explored:
    """What an exploration has seen."""

    states: int = 0
    steps: int = 0
    executions: int = 0
    ends: Counter[int] = field(default_factory=Counter)
    """How many ends there are with so many exposures made."""


class Violation(AssertionError):
    """What must never be, and the way there."""


def explore(scenario: Scenario, disk: Disk) -> Explored:
    """Try every choice in every state of a scenario; raises Violation."""
    explored = Explored()
    template = _new_ledger()
    known: set[tuple[Any, ...]] = set()
    ways: list[tuple[Choice, ...]] = [()]
    with disk.watched(), _named():
        while ways:
            way = ways.pop()
            world = World(scenario, disk, template)
            explored.executions += 1
            try:
                for choice in way:
                    world.take(choice)
                while (key := world.key()) not in known:
                    known.add(key)
                    world.check()
                    choices = world.choices()
                    explored.steps += len(choices)
                    if not choices:
                        made = round(world.beam.truth / WORST)
                        explored.ends[made] += 1
                        break
                    ways += [(*way, choice) for choice in choices[1:]]
                    way = (*way, choices[0])
                    world.take(choices[0])
            except Exception as error:
                steps = ", ".join(f"{who} {what}" for who, what in way)
                raise Violation(f"{error!r} after {steps}") from error
            finally:
                world.close()
    explored.states = len(known)
    return explored


def _new_ledger() -> bytes:
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        path = Path(folder) / "dose.sqlite"
        DoseLedger(path, limit_e_per_nm2=LIMIT).close()
        return path.read_bytes()


@contextmanager
def _named() -> Iterator[None]:
    """Hold sessions at the steps of the file; let them, and their UUIDs, have names."""

    def session() -> Session | None:
        return getattr(Session.here, "session", None)

    def at_step(step: str) -> None:
        here = session()
        if here is not None:
            here.at(step)

    def named() -> str:
        here = session()
        assert here is not None
        numbers[here] += 1
        return f"{here.name}-{numbers[here]}"

    def owner() -> dict[str, Any]:
        here = session()
        assert here is not None
        return {"host": "host", "pid": here.name}

    def is_alive(owner: dict[str, Any]) -> bool:
        here = session()
        return here is not None and owner["pid"] in here.living()

    numbers: Counter[Session] = Counter()
    with (
        mock.patch.object(AppendOnlyFile, "at_step", staticmethod(at_step)),
        mock.patch.object(uuid, "uuid4", named),
        mock.patch.object(dose_book, "this_owner", owner),
        mock.patch.object(dose_reconcile, "this_owner", owner),
        mock.patch.object(dose_queries, "is_owner_alive", is_alive),
    ):
        yield


# What is proved ----------------------------------------------------------------------


GIVES_UP = Scenario((life,), gives_up=1)
CRASHES = Scenario((life,), crashes=1)
ALONE = Scenario((life,), crashes=1, restarts=1)
SERIES = Scenario((series_life,), crashes=1)
WATCHED = Scenario((life, onlooker))
TWO = Scenario((halted_life, halted_life), crashes=1, in_turn=True, afterwards=onlooker)
DEEPER = {
    "two, one gives up": Scenario((life, halted_life), gives_up=1),
    "two, a crash amid the other's life": Scenario(
        (halted_life, halted_life), crashes=1, afterwards=onlooker
    ),
    "two, a crash, then a life": Scenario(
        (halted_life, halted_life), crashes=1, in_turn=True
    ),
    "two, a restart": Scenario((life, life), restarts=1),
    "two crashes": Scenario((life,), crashes=2, restarts=1),
    "one, watched, a restart": Scenario((life, onlooker), restarts=1),
    "two, row by row": Scenario((life, life), is_exact=True),
}
"""What `make bench` explores as well."""


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.mark.parametrize(
    ("scenario", "states", "exposures"),
    [
        pytest.param(GIVES_UP, 55, {1}, id="gives up"),
        pytest.param(SERIES, 414, {0, 1, 2}, id="series"),
        pytest.param(ALONE, 1549, {0, 1, 2}, id="alone"),
        pytest.param(WATCHED, 391, {1}, id="watched"),
        pytest.param(TWO, 2678, {0, 1, 2}, id="two"),
    ],
)
def test_no_order_and_no_death_lets_a_session_overspend(
    scenario: Scenario, states: int, exposures: set[int], disk: Disk
) -> None:
    explored = explore(scenario, disk)

    # No more and no less: who changes the steps of the ledger looks at both again.
    assert explored.states == states
    assert set(explored.ends) == exposures


# The explorer can fail ---------------------------------------------------------------


@contextmanager
def _committed_late(file: AppendOnlyFile) -> Iterator[sqlite3.Connection]:
    """Answer before it is on disk: what is written is committed at the next use."""
    connection = file._open()  # noqa: SLF001
    if connection.in_transaction:
        connection.execute("COMMIT")
    file.at_step("write")
    connection.execute("BEGIN IMMEDIATE")
    yield connection


def _without_sync(file: AppendOnlyFile, connection: sqlite3.Connection) -> None:
    prepare(file, connection)
    connection.execute("PRAGMA synchronous = OFF")


prepare = AppendOnlyFile._prepare  # noqa: SLF001


def mutants() -> dict[str, tuple[Scenario, list[Any]]]:
    """Return what could be built wrong, as patches of the real classes, and where."""
    return {
        "settled before commit": (
            CRASHES,
            [mock.patch.object(AppendOnlyFile, "writing", _committed_late)],
        ),
        "not synced": (
            CRASHES,
            [mock.patch.object(AppendOnlyFile, "_prepare", _without_sync)],
        ),
        "released on timeout": (
            GIVES_UP,
            [
                mock.patch.object(dose_tickets, "refuse_unproved", return_value=None),
                mock.patch.object(dose_reconcile, "_for_now", return_value=""),
            ],
        ),
    }


@pytest.mark.parametrize("name", mutants())
def test_a_ledger_that_is_built_wrong_is_found_out(name: str, disk: Disk) -> None:
    scenario, patches = mutants()[name]

    with ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        with pytest.raises(Violation, match="less is counted than was shot"):
            explore(scenario, disk)


def test_while_a_session_writes_nobody_else_does_and_all_read_what_was_before(
    tmp_path: Path,
) -> None:
    """What lets the explorer take a transaction for one step."""
    held: list[tuple[str, float]] = []
    path = tmp_path / "dose.sqlite"
    other = DoseLedger(path, limit_e_per_nm2=LIMIT)
    other._file._open().execute("PRAGMA busy_timeout = 0")  # noqa: SLF001

    def look(step: str) -> None:
        if step == "commit" and not held:
            held.append((step, other.usage("wire-1", "region-1").reserved_e_per_nm2))
            with pytest.raises(LedgerError, match="another process has held"):
                reserve(other)

    with DoseLedger(path, limit_e_per_nm2=LIMIT) as ledger:
        with mock.patch.object(AppendOnlyFile, "at_step", staticmethod(look)):
            reserve(ledger)
    other.close()

    assert held == [("commit", 0.0)]


def reserve(ledger: DoseLedger, counter: int = 0) -> Ticket:
    return ledger.reserve(
        FRAME,
        current_pa=CURRENT_PA,
        current_limit_pa=1.1 * CURRENT_PA,
        boot_id="boot-1",
        counter=counter,
    )


# Each write to the disk --------------------------------------------------------------


def charged(path: Path) -> tuple[float, float]:
    """Return what a ledger says, opened as after a crash, on a copy of it."""
    with DoseLedger(path, limit_e_per_nm2=LIMIT) as ledger:
        used = ledger.usage("wire-1", "region-1")
        return used.settled_e_per_nm2, used.reserved_e_per_nm2


@pytest.mark.parametrize("what", ["kill", "power cut"])
def test_at_each_write_of_each_step_a_crash_leaves_the_old_or_the_new(
    what: str, tmp_path: Path, disk: Disk
) -> None:
    path = tmp_path / "dose.sqlite"
    images: list[dict[str, bytes]] = []

    def take(written: Path) -> None:
        files = {s: Path(f"{path}{s}") for s in ("", "-wal")}
        if what == "power cut":
            images.append(disk.image(path))
        else:
            images.append({s: f.read_bytes() for s, f in files.items() if f.exists()})

    def found(image: dict[str, bytes]) -> tuple[float, float]:
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            copy = Path(folder) / "dose.sqlite"
            for suffix, content in image.items():
                Path(f"{copy}{suffix}").write_bytes(content)
            return charged(copy)

    n_images = 0
    with disk.watched(), DoseLedger(path, limit_e_per_nm2=LIMIT) as ledger:
        tickets: list[Ticket] = []

        def settle() -> object:
            beam = Beam(exposing=tickets[-1])
            beam.end()
            return ledger.settle(tickets[-1].uid, beam.log[1])

        steps: list[Callable[[], object]] = [
            lambda: tickets.append(reserve(ledger)),
            settle,
            lambda: tickets.append(reserve(ledger, counter=1)),
            lambda: ledger.release(
                tickets[-1].uid, reason="a test", boot_id="boot-1", counter=1
            ),
            lambda: ledger.open_series([FRAME], current_limit_pa=165.0),
        ]
        for step in steps:
            before = charged(path)
            images.clear()
            disk.at_write = take
            step()
            disk.at_write = lambda written: None
            take(path)
            after = charged(path)
            assert before != after
            seen = [found(image) for image in images]
            n_images += len(images)
            # Once new, it stays so; and is so before anybody was told.
            assert seen == sorted(seen, key=[before, after].index)
            assert seen[-1] == after
    assert n_images > 100
