"""The main job from start to end, as a check that a person can look at.

A laboratory is started, a cell is cycled through EPICS and bluesky, and what
arrives in Tiled is held against written thresholds. The laboratory is a process
of its own, started by its command: nothing here imports the simulator.
"""

import json
import math
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from cryoline.acquisition import demo_checks as checks
from cryoline.acquisition.config import Config, load_config
from cryoline.acquisition.demo_checks import Line
from cryoline.acquisition.demo_session import SWEEP
from cryoline.acquisition.errors import DemoError
from cryoline.acquisition.journal_reader import count_rows
from cryoline.acquisition.services import Services
from cryoline.acquisition.tiled_server import TiledServer

__all__ = ["DemoSettings", "run_demo"]

_PUBLISHED_WITHIN_S: Final = 60.0


@dataclass(frozen=True)
class DemoSettings:
    """What ``cryoline demo`` was asked for."""

    out: Path
    seed: int = 1
    factor: float = 4000.0
    """How much faster than the wall clock the laboratory's time runs."""
    recorded: Path | None = None
    """A real measured file that the potentiostat plays in place of the model."""
    keep: bool = False
    """Leave laboratory and servers up."""


def run_demo(settings: DemoSettings, console: Console) -> bool:
    """Run everything, write table and figures to ``settings.out``; True if all holds.

    Nothing is left running unless ``settings.keep``, whatever happens.
    Raises CryolineError for a mistake of the person's.
    """
    began = time.monotonic()
    settings.out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        config = _start_laboratory(settings, stack, console)
        server = _start_services(config, stack, console)
        session = _cycle(config, settings)
        key = session["key"]
        with console.status("waiting until Tiled holds everything"):
            tables = _published(server, key)
        lines = _judge(config, key, tables, session["truth"], settings)
        figure = _draw(tables, session["specimen"], settings)
        _report(lines, settings.out, console)
        console.print(f"figure    {figure}")
        console.print(f"run       {key}, in {time.monotonic() - began:.0f} s")
        if settings.keep:
            stack.pop_all()  # only now: whatever failed before has been ended
            console.print(
                f"Tiled     {server.url()} (key in "
                f"{config.layout.root / config.tiled.api_key_file})\n"
                f"end it    cryoline down --config {config.path}; "
                f"cryoline sim down --dir {config.path.parent}"
            )
        return all(line.holds for line in lines)


def _start_laboratory(
    settings: DemoSettings, stack: ExitStack, console: Console
) -> Config:
    """Start the laboratory by its command; the stack ends it."""
    lab = settings.out / "lab"
    command = [sys.executable, "-m", "cryoline.acquisition.cli", "sim"]
    source = (
        ["--recorded", str(settings.recorded)]
        if settings.recorded
        else ["--cell", "wafer"]
    )
    arguments = ["--dir", str(lab), "--seed", str(settings.seed), *source]
    with console.status("starting the laboratory: world and IOCs"):
        started = subprocess.run(
            [*command, "up", *arguments, "--factor", str(settings.factor)],
            capture_output=True,
            text=True,
            check=False,
        )
    if started.returncode:
        raise DemoError(started.stderr.strip())
    stack.callback(
        subprocess.run, [*command, "down", "--dir", str(lab)], capture_output=True
    )
    console.print(f"lab       {lab}, time x {settings.factor:g}")
    return load_config(lab / "instrument.toml")


def _start_services(config: Config, stack: ExitStack, console: Console) -> TiledServer:
    services = Services(config)
    with console.status("starting Tiled, publisher and analysis worker"):
        services.up()
    stack.callback(services.down)
    server = TiledServer.from_config(config)
    console.print(f"services  Tiled at {server.url()}, publisher, analysis worker")
    return server


def _cycle(config: Config, settings: DemoSettings) -> dict[str, Any]:
    """Run the session, a process of its own as at a real instrument.

    Returns the run's key, its specimen, and what the laboratory says is true.
    """
    result = settings.out / "session.json"
    command = [sys.executable, "-m", "cryoline.acquisition.demo_session"]
    command += ["--config", str(config.path), "--result", str(result)]
    if settings.recorded:
        command += ["--recorded", settings.recorded.name]
    ended = subprocess.run(command, check=False)
    if ended.returncode:
        raise DemoError(
            f"the session ended with exit code {ended.returncode}; "
            f"see {config.layout.logs / 'session.log'}"
        )
    found: dict[str, Any] = json.loads(result.read_text())
    return found


_Tables = dict[str, dict[str, dict[str, list[Any]]]]


def _published(server: TiledServer, key: str) -> _Tables:
    """Return every table of raw and derived run once the publisher has closed both.

    By tiled's own client, as anybody would read them.
    """
    from tiled.client import from_uri

    root = from_uri(server.url(), api_key=server.api_key())
    deadline = time.monotonic() + _PUBLISHED_WITHIN_S
    wanted = {"raw": key, "derived": f"{key}_cycling"}
    tick = threading.Event()
    while True:
        missing = [
            f"{container}/{name}"
            for container, name in wanted.items()
            if not _is_closed(root, container, name)
        ]
        if not missing:
            break
        if time.monotonic() > deadline:
            raise DemoError(
                f"{', '.join(missing)}: not in Tiled after {_PUBLISHED_WITHIN_S:g} s; "
                "what was measured is in the journal: see cryoline status, "
                "then cryoline replay"
            )
        tick.wait(0.3)
    return {
        container: {
            stream: _columns(root[container, name, stream])
            for stream in root[container, name]
        }
        for container, name in wanted.items()
    }


def _is_closed(root: Any, container: str, name: str) -> bool:
    try:
        return bool(root[container, name].metadata.get("stop"))
    except KeyError:
        return False


def _columns(stream: Any) -> dict[str, list[Any]]:
    frame = stream.base["internal"].read()
    return {str(name): frame[name].tolist() for name in frame.columns}


def _judge(
    config: Config,
    key: str,
    tables: _Tables,
    truth: Mapping[str, float],
    settings: DemoSettings,
) -> list[Line]:
    layout = config.layout
    lines = checks.row_lines(
        (f"{container}/{stream}", count, len(tables[container][stream]["seq_num"]))
        for container, path in (
            ("raw", layout.raw_journal / f"{key}.jsonl"),
            ("derived", layout.derived_journal / f"{key}_cycling.jsonl"),
        )
        for stream, count in count_rows(path).items()
    )
    derived = tables["derived"]
    if settings.recorded:
        return lines + checks.recorded_lines(
            derived["half_cycles"], _counted(settings.recorded)
        )
    points = {
        column.removeprefix("potentiostat_"): values
        for column, values in tables["raw"]["points"].items()
        if column.startswith("potentiostat_")
    }
    return [
        *lines,
        *checks.point_lines(
            points,
            low_v=SWEEP["vertex_low_v"],
            high_v=SWEEP["vertex_high_v"],
            rate_mv_per_s=SWEEP["scan_rate_mv_per_s"],
            record_dv_mv=SWEEP["record_dv_mv"],
        ),
        *checks.charge_lines(derived["cycles"], **truth),
        *checks.peak_lines(_rows(derived["peaks"])),
    ]


def _counted(path: Path) -> dict[int, float]:
    """Return each half cycle's charge by the recorded file's own counter, mAh."""
    from cryoline.plugins import registry

    table = registry.load("cryoline.readers", path.suffix.removeprefix("."))(path)
    counted: dict[int, float] = {}
    before = 0.0
    for half_cycle, charge in zip(table.half_cycle, table.charge_mah, strict=True):
        number = int(half_cycle)
        counted[number] = counted.get(number, 0.0) + float(charge) - before
        before = float(charge)
    return counted


def _rows(columns: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    return [
        dict(zip(columns, values, strict=True))
        for values in zip(*columns.values(), strict=True)
    ]


def _draw(tables: _Tables, specimen: str, settings: DemoSettings) -> Path:
    """Draw a voltammogram, or charge curves if nothing was swept; return the file."""
    from cryoline.analysis.figures import charge_curve_figure, voltammogram_figure

    points, derived = tables["raw"]["points"], tables["derived"]
    # A file does not say in a fixed place against what its potential was measured.
    reference = "reference" if settings.recorded else "Li/Li$^+$"
    if any(math.isfinite(r) for r in derived["half_cycles"]["scan_rate_mv_per_s"]):
        path = settings.out / "voltammogram.png"
        figure = voltammogram_figure(
            points, derived.get("peaks"), specimen=specimen, reference=reference
        )
    else:
        path = settings.out / "charge-curves.png"
        figure = charge_curve_figure(points, specimen=specimen, reference=reference)
    figure.savefig(path, dpi=150)
    return path


def _report(lines: Sequence[Line], out: Path, console: Console) -> None:
    # A line a promise, none wrapped or cut on 80 columns.
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for head in ("", "what", "found", "threshold", "against"):
        table.add_column(head, no_wrap=True, min_width=2)
    for line in lines:
        band = [_short(line.low), _short(line.high)]
        table.add_row(
            "[green]ok[/]" if line.holds else "[red]no[/]",
            line.name,
            f"{_short(line.value)} {line.unit}",
            band[0] if line.low == line.high else "..".join(band),
            line.source,
        )
    console.print(table)
    (out / "demo.json").write_text(
        json.dumps([asdict(line) | {"holds": line.holds} for line in lines], indent=2)
    )


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.5g}"
