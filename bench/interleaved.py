"""Ratios of two programs that hold on a busy machine: interleaved, in CPU seconds."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

__all__ = ["ROUNDS", "Row", "compare", "cpu_s"]

ROUNDS = 7


@dataclass(frozen=True)
class Row:
    """One kernel against one peer."""

    kernel: str
    peer: str
    ours_s: float
    """CPU time for the same work, median."""
    peer_s: float
    ratio: float
    """Median of the rounds' ratios; above 1: ours is faster."""
    goal: float
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return it with whether its goal is met."""
        return asdict(self) | {"met": self.ratio >= self.goal}


def cpu_s(work: Callable[[], Any]) -> float:
    """Return the process CPU time of some work, all threads counted."""
    start = time.process_time()
    work()
    return time.process_time() - start


def compare(
    kernel: str,
    ours: Callable[[], Any],
    peers: Mapping[str, tuple[Callable[[], Any], float, float]],
    *,
    rounds: int = ROUNDS,
    share: float = 1.0,
    note: str = "",
) -> list[Row]:
    """Return a row for each peer: (its work, which part of ours that is, goal).

    share: which part of the whole task our own work is
    """
    ours()
    for work, _, _ in peers.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in peers}
    own: list[float] = []
    for _ in range(rounds):
        own.append(cpu_s(ours) / share)
        for name, (work, part, _) in peers.items():
            times[name].append(cpu_s(work) / part)
    return [
        Row(
            kernel,
            name,
            median(own),
            median(times[name]),
            median(p / max(o, 1e-9) for p, o in zip(times[name], own, strict=True)),
            goal,
            note,
        )
        for name, (_, _, goal) in peers.items()
        if math.isfinite(goal)
    ]
