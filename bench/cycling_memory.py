"""What journals hold of a program, against the memory of the instrument that ran it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cryoline.acquisition.journal_format import decode_line
from cryoline.ioc.points import COLUMNS
from cryoline.sim.rpc import WorldClient

__all__ = ["Channel", "Held", "compare_all"]

_NOISE_V = 1e-3


@dataclass(frozen=True)
class Held:
    """What a comparison has found."""

    runs: int = 0
    """That the program was collected in."""
    continuing: int = 0
    """Of them: those that say which one they continue."""
    points: int = 0
    """In the instrument's memory."""
    lost_points: int = 0
    """In the instrument's memory, and in no journal."""
    doubled_points: int = 0
    """In more than one run, or twice in one."""
    wrong_points: int = 0
    """With other values than the instrument's."""
    excursions: int = 0
    """Beyond the safety limits by more than noise and one converter step."""


class Channel:
    """One channel of the laboratory's potentiostat, as hardware; number from 1."""

    def __init__(self, world: WorldClient, number: int = 1) -> None:
        self.device = "potentiostat" if number == 1 else f"potentiostat{number}"
        self._world = world
        self._index = number - 1

    def poll(self) -> dict[str, Any]:
        """Return its readings by the names of their PVs."""
        answer = self._world.call("poll", instrument="potentiostat")
        values: dict[str, Any] = answer["values"][self.device]
        return values

    @property
    def state(self) -> int:
        """What it does, a `ProgramState`."""
        return int(self.poll()["State_RBV"])

    def memory(self) -> Iterator[dict[str, float]]:
        """Yield every point that it has taken."""
        first = 0
        while rows := self._world.call(
            "potentiostat.points", first=first, channel=self._index
        )["rows"]:
            first += len(rows)
            for row in rows:
                yield dict(zip(COLUMNS, row, strict=True))

    def compare(self, journals: Path) -> Held:
        """Hold the journals of a folder against the memory, point by point."""
        uid = self.poll()["ProgramUid_RBV"]
        kept: dict[int, dict[str, Any]] = {}
        seen: Counter[int] = Counter()
        safety: dict[str, float] | None = None
        runs = continuing = 0
        for path in journals.glob("*.jsonl"):
            start, rows = self._read(path, uid)
            if start is None:
                continue
            safety = start["program"]["safety"]
            runs += bool(rows)
            continuing += "continues" in start
            for row in rows:
                seen[row["point_index"]] += 1
                kept[row["point_index"]] = row
        if safety is None:
            raise RuntimeError(f"no run of program {uid} of {self.device}")
        points = lost = wrong = excursions = 0
        for true in self.memory():
            points += 1
            found = kept.get(int(true["point_index"]))
            lost += found is None
            wrong += found is not None and any(
                found[name] != true[name] for name in ("potential_v", "charge_mah")
            )
            least_v = safety["potential_min_v"] - _NOISE_V
            most_v = safety["potential_max_v"] + _NOISE_V
            is_inside = least_v <= true["potential_v"] <= most_v
            is_inside &= abs(true["current_a"]) <= safety["current_max_a"]
            excursions += not is_inside
        doubled = sum(count - 1 for count in seen.values())
        return Held(runs, continuing, points, lost, doubled, wrong, excursions)

    def _read(
        self, path: Path, uid: str
    ) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
        """Return a run's start document and points, if it is of this program."""
        lines = path.read_bytes().splitlines(keepends=True)
        if uid.encode() not in lines[0]:
            return None, []
        whole = [decode_line(line) for line in lines if line.endswith(b"\n")]
        if not whole or (whole[0][1].get("program") or {}).get("uid") != uid:
            return None, []
        prefix = f"{self.device}_"
        rows = []
        for name, doc in whole:
            if name == "event_page" and f"{prefix}point_index" in doc["data"]:
                names = [key.removeprefix(prefix) for key in doc["data"]]
                for values in zip(*doc["data"].values(), strict=True):
                    rows.append(dict(zip(names, values, strict=True)))
        return whole[0][1], rows


def compare_all(channels: Sequence[Channel], journals: Path) -> dict[str, int]:
    """Return the sums over channels of what each comparison has found (`Held`)."""
    found = [asdict(channel.compare(journals)) for channel in channels]
    return {name: sum(one[name] for one in found) for name in asdict(Held())}
