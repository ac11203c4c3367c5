"""The demo with a recorded file: its charges in Tiled against its own counter."""

from pathlib import Path
from typing import Any

from cryoline.acquisition import demo_checks as checks
from cryoline.acquisition.config import Config
from cryoline.acquisition.demo_checks import Line
from cryoline.acquisition.demo_results import Results, cycling_points, row_counts
from cryoline.acquisition.tiled_server import TiledServer

__all__ = ["draw", "fetch", "judge"]


def fetch(server: TiledServer, session: dict[str, Any]) -> Results:
    """Return what Tiled holds of the run."""
    key = session["runs"]["recorded"]
    return Results(server, {"raw": [key], "derived": [f"{key}_cycling"]})


def judge(
    config: Config, results: Results, session: dict[str, Any], recorded: Path | None
) -> list[Line]:
    """Return a line for each stream, and for each half cycle's charge."""
    key = session["runs"]["recorded"]
    lines = checks.row_lines(row_counts(config.layout, results))
    if recorded is None:
        return lines
    half_cycles = results.tables["derived"][f"{key}_cycling"]["half_cycles"]
    return lines + checks.recorded_lines(half_cycles, _counted(recorded))


def draw(
    config: Config, results: Results, session: dict[str, Any], out: Path
) -> dict[str, Path]:
    """Draw charge curves, or a voltammogram if it was swept."""
    from cryoline.acquisition.demo_figures import draw_cycling

    key = session["runs"]["recorded"]
    path = draw_cycling(
        cycling_points(results, key),
        results.tables["derived"][f"{key}_cycling"],
        out,
        specimen="recorded-cell",
        recorded=True,
    )
    return {"figure": path}


def _counted(path: Path) -> dict[int, float]:
    """Return each half cycle's charge by the recorded file's own counter, mAh."""
    from cryoline.plugins.reading import read_cycling

    table, _ = read_cycling(path)
    counted: dict[int, float] = {}
    before = 0.0
    for half_cycle, charge in zip(table.half_cycle, table.charge_mah, strict=True):
        number = int(half_cycle)
        counted[number] = counted.get(number, 0.0) + float(charge) - before
        before = float(charge)
    return counted
