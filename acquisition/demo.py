"""The main job from start to end, as a check that a person can look at.

A laboratory is started; in it a cell is cycled, a wire of it brought cold to the
microscope and mapped at 25 tilts, through EPICS and bluesky. What arrives in Tiled is
held against written thresholds. The laboratory is a process of its own, started by its
command: nothing here imports the simulator.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from cryoline.acquisition.config import Config, load_config
from cryoline.acquisition.demo_checks import Line
from cryoline.acquisition.errors import DemoError
from cryoline.acquisition.services import Services
from cryoline.acquisition.tiled_server import TiledServer

__all__ = ["DemoSettings", "run_demo"]

_RECORDED_FACTOR: Final = 4000.0
"""Instrument time over wall time while a file is played."""


@dataclass(frozen=True)
class DemoSettings:
    """What ``cryoline demo`` was asked for."""

    out: Path
    seed: int = 1
    recorded: Path | None = None
    """A real measured file that the potentiostat plays in place of the story."""
    sabotage: str | None = None
    """Something to spoil on purpose, which a line of the table must notice."""
    keep: bool = False
    """Leave laboratory and servers up."""


def run_demo(settings: DemoSettings, console: Console) -> bool:
    """Run everything, write table and figures to ``settings.out``; True if all holds.

    Nothing is left running unless ``settings.keep``, whatever happens.
    Raises CryolineError for a mistake of the person's.
    """
    from cryoline.acquisition import demo_recorded, demo_story

    began = time.monotonic()
    settings.out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        config = _start_laboratory(settings, stack, console)
        server = _start_services(config, stack, console)
        session = _run_session(config, settings)
        part = demo_recorded if settings.recorded else demo_story
        with _status(console, "waiting until Tiled holds everything"):
            results = part.fetch(server, session)
        stack.callback(results.close)
        with _status(console, "judging and drawing"):
            lines = part.judge(config, results, session, settings.recorded)
            figures = part.draw(config, results, session, settings.out)
        _report(lines, settings.out, console)
        for name, figure in figures.items():
            console.print(f"{name:12}{figure}")
        took_s = time.monotonic() - began
        console.print(f"{'runs':12}{', '.join(session['runs'].values())}")
        console.print(f"{'took':12}{took_s:.0f} s")
        if settings.keep:
            stack.pop_all()  # only now: whatever failed before has been ended
            console.print(
                f"{'Tiled':12}{server.url()} (key in "
                f"{config.layout.root / config.tiled.api_key_file})\n"
                f"{'end it':12}cryoline down --config {config.path}; "
                f"cryoline sim down --dir {config.path.parent}"
            )
        return all(line.holds for line in lines)


def _start_laboratory(
    settings: DemoSettings, stack: ExitStack, console: Console
) -> Config:
    """Start the laboratory by its command; the stack ends it."""
    lab = settings.out / "lab"
    command = [sys.executable, "-m", "cryoline.acquisition.cli", "sim"]
    arguments = ["--dir", str(lab), "--seed", str(settings.seed)]
    if settings.recorded:
        arguments += ["--recorded", str(settings.recorded)]
        arguments += ["--factor", str(_RECORDED_FACTOR)]
    else:
        arguments += ["--cell", "nanowire"]
    with _status(console, "starting the laboratory: world and IOCs"):
        started = subprocess.run(
            [*command, "up", *arguments], capture_output=True, text=True, check=False
        )
    if started.returncode:
        raise DemoError(started.stderr.strip())
    stack.callback(
        subprocess.run, [*command, "down", "--dir", str(lab)], capture_output=True
    )
    console.print(f"{'lab':12}{lab}")
    return load_config(lab / "instrument.toml")


def _start_services(config: Config, stack: ExitStack, console: Console) -> TiledServer:
    services = Services(config)
    with _status(console, "starting Tiled, publisher and analysis worker"):
        services.up()
    stack.callback(services.down)
    server = TiledServer.from_config(config)
    console.print(f"{'services':12}Tiled at {server.url()}, publisher, analysis worker")
    return server


def _run_session(config: Config, settings: DemoSettings) -> dict[str, Any]:
    """Run the session, a process of its own as at a real instrument.

    Returns the runs' keys, and what ledger and laboratory say.
    """
    result = settings.out / "session.json"
    command = [sys.executable, "-m", "cryoline.acquisition.demo_session"]
    command += ["--config", str(config.path), "--result", str(result)]
    if settings.recorded:
        command += ["--recorded", settings.recorded.name]
    if settings.sabotage:
        command += ["--sabotage", settings.sabotage]
    ended = subprocess.run(command, check=False)
    if ended.returncode:
        raise DemoError(
            f"the session ended with exit code {ended.returncode}; "
            f"see {config.layout.logs / 'session.log'}"
        )
    found: dict[str, Any] = json.loads(result.read_text())
    return found


@contextmanager
def _status(console: Console, text: str) -> Iterator[None]:
    with console.status(text):
        yield


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
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"
