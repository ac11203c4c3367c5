"""Eight cells at once, each by a session of its own; on demand the host reboots.

    python bench/cycling_channels.py [--json] [--channels 8] [--protocol s0-25]
                                     [--reboot]

A laboratory cycles as many wafers as the potentiostat has channels, through its one
IOC. When all of them run, a further session asks for a channel that is busy. With
--reboot Tiled, publisher and analysis are up; every process but the laboratory's is
killed (SIGKILL) in mid-cycle, and begun anew from the files alone: `cryoline up`, then
`cryoline resume` on each channel. At the end the journals are held against the
instrument's memory, channel by channel:

    points, lost_points, doubled_points, wrong_points, excursions, runs
                     as in cycling_faults.py, of all channels
    continuing       runs that say which one they continue: with --reboot one a channel
    refused          what the session was told that asked for the busy channel
    rows_in_tiled    of all programs; with --reboot
    wall_s           from when all run (or the reboot) to the last session's end
    cpu_s            of the sessions, their imports included; of world and IOC
"""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from cycling_memory import Channel, compare_all
from process_cpu import cpu_s

from cryoline.acquisition.config import load_config
from cryoline.acquisition.services import SERVICES, Services
from cryoline.sim.laboratory import Lab, start_lab
from cryoline.sim.rpc import WorldClient

SLOW, FAST = 50.0, 1e5
"""Instrument time over wall time until all run, and from then on."""
RUNNING, FINISHED = 2, 3
PATIENCE_S = 600.0
BEFORE_REBOOT_S = 3.0
_PAUSE = threading.Event()


class Room:
    """The laboratory, its channels, and the processes of one host beside it."""

    def __init__(self, lab: Lab, channels: int) -> None:
        self.lab = lab
        self.world = WorldClient(lab.socket)
        self.channels = [Channel(self.world, k + 1) for k in range(channels)]
        self._environment = {
            **os.environ,
            **lab.epics_environment,
            "CRYOLINE_CONFIG": str(lab.directory / "instrument.toml"),
        }
        self.config = load_config(lab.directory / "instrument.toml")

    def cryoline(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command of cryoline."""
        command = [sys.executable, "-m", "cryoline.acquisition.cli", *arguments]
        return subprocess.Popen(
            command,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def done(self, process: subprocess.Popen[str]) -> str:
        """Wait for a command's end, and return what it wrote."""
        out, error = process.communicate(timeout=PATIENCE_S)
        if process.returncode != 0:
            raise RuntimeError(f"{process.args!r} ended badly: {error}")
        return out

    def begin(self, channel: Channel, protocol: str) -> subprocess.Popen[str]:
        """Start a session that cycles a cell."""
        cell = f"cell-{channel.device}"
        arguments = ("cycle", protocol, "--specimen", cell, "--on", channel.device)
        return self.cryoline(*arguments, "--wait-s", "0", "--json")

    def go_on(self, channel: Channel) -> subprocess.Popen[str]:
        """Start a session that goes on with what a channel runs."""
        return self.cryoline("resume", channel.device, "--wait-s", "0", "--json")

    def until_all_run(self, sessions: list[subprocess.Popen[str]]) -> None:
        """Wait until every channel runs its program."""
        deadline = time.monotonic() + PATIENCE_S
        while any(channel.state != RUNNING for channel in self.channels):
            for session in sessions:
                if session.poll():
                    raise RuntimeError(session.communicate()[1])
            if time.monotonic() > deadline:
                raise TimeoutError("not every channel came to run")
            _PAUSE.wait(0.1)

    def reboot(self, sessions: list[subprocess.Popen[str]]) -> None:
        """Kill what runs on the host at once, all but the instrument."""
        services = Services(self.config)
        identities = [services.identity(name) for name in SERVICES]
        pids = [session.pid for session in sessions]
        pids += [identity.pid for identity in identities if identity is not None]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for session in sessions:
            session.communicate()

    def cpu_s(self) -> float:
        """Return what the laboratory's world and potentiostat have computed."""
        return sum(cpu_s(self.lab.pid(name)) for name in ("world", "potentiostat"))

    def rows_in_tiled(self) -> int:
        """Return the points that Tiled holds of the channels' programs, each once."""
        from tiled.client import from_uri

        from cryoline.acquisition import program_points
        from cryoline.acquisition.tiled_server import TiledServer

        server = TiledServer.from_config(self.config)
        tiled: Any = from_uri(server.url(), api_key=server.api_key())
        try:
            uids = [channel.poll()["ProgramUid_RBV"] for channel in self.channels]
            return sum(len(program_points(tiled["raw"], uid)) for uid in uids)
        finally:
            tiled.context.close()


def run(channels: int, protocol: str, reboot: bool, directory: Path) -> dict[str, Any]:
    """Cycle, reboot if that is wanted, and compare."""
    with start_lab(directory, seed=1, factor=SLOW, channels=channels) as lab:
        room = Room(lab, channels)
        if reboot:
            room.done(room.cryoline("up"))
        try:
            return _cycled(room, protocol, reboot)
        finally:
            room.world.close()
            Services(room.config).down()


def _cycled(room: Room, protocol: str, reboot: bool) -> dict[str, Any]:
    sessions = [room.begin(channel, protocol) for channel in room.channels]
    room.until_all_run(sessions)
    intruder = room.begin(room.channels[0], protocol)
    refused = intruder.communicate(timeout=PATIENCE_S)[1].strip()
    if intruder.returncode == 0:
        raise RuntimeError("a busy channel was given away")
    if reboot:
        room.world.call("lab.factor", factor=FAST / 100)
        _PAUSE.wait(BEFORE_REBOOT_S)
        room.reboot(sessions)
    before_s, cpu_s, children_s = time.monotonic(), room.cpu_s(), _children_s()
    if reboot:
        room.done(room.cryoline("up"))
        sessions = [room.go_on(channel) for channel in room.channels]
    room.world.call("lab.factor", factor=FAST)
    keys = [json.loads(room.done(session))["key"] for session in sessions]
    wall_s = time.monotonic() - before_s
    states = [channel.state for channel in room.channels]
    if states != [FINISHED] * len(states):
        raise RuntimeError(f"the programs ended in states {states}")
    figures: dict[str, Any] = {"channels": len(keys)}
    journals = room.config.layout.raw_journal
    figures |= compare_all(room.channels, journals)
    figures["refused"] = refused
    if reboot:
        room.done(room.cryoline("replay"))
        figures["rows_in_tiled"] = room.rows_in_tiled()
    figures["wall_s"] = round(wall_s, 1)
    figures["cpu_s"] = {
        "sessions": round(_children_s() - children_s, 1),
        "world and IOC": round(room.cpu_s() - cpu_s, 1),
    }
    return figures


def _children_s() -> float:
    """Return the CPU time of the sessions and services that have ended so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> int:
    """Run the bench; exit 0 if nothing was lost, doubled, or beyond a limit."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--protocol", default="s0-25")
    parser.add_argument("--reboot", action="store_true", help="of the host, in between")
    parser.add_argument("--json", action="store_true", help="for a program to read")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cycling-channels-") as directory:
        figures = run(
            options.channels, options.protocol, options.reboot, Path(directory)
        )
    if options.json:
        print(json.dumps(figures, indent=2))
    else:
        for name, value in figures.items():
            print(f"{name:16} {value}")
    faults = ("lost_points", "doubled_points", "wrong_points", "excursions")
    return 1 if any(figures[name] for name in faults) else 0


if __name__ == "__main__":
    sys.exit(main())
