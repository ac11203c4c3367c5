"""One laboratory and one set of services a test session, for whoever needs them."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pytest

from cryoline.acquisition.config import Config, load_config
from cryoline.acquisition.services import Services
from cryoline.acquisition.tiled_access import API_KEY_VARIABLE
from cryoline.acquisition.tiled_server import TiledServer
from cryoline.sim.errors import PortInUseError
from cryoline.sim.laboratory import Lab, start_lab
from cryoline.sim.ports import wanted_ports
from cryoline.sim.prefixes import GROUPS

FACTOR = 4000.0
"""Cell time over wall time: a cycle of 29,900 s takes 7.5 s."""


def _first_free_port() -> int:
    """Return the first of enough consecutive free ports."""
    for _ in range(200):
        first = random.randrange(20_000, 32_000)
        try:
            return wanted_ports(first, len(GROUPS) + 1)[0]
        except PortInUseError:
            continue
    raise RuntimeError("no consecutive free ports on 127.0.0.1")


# Channel Access reads its addresses when ophyd is imported, which collecting the
# tests does: so the ports are chosen before the laboratory is there.
_PORT = _first_free_port()
os.environ["EPICS_CA_ADDR_LIST"] = " ".join(
    f"127.0.0.1:{_PORT + k}" for k in range(len(GROUPS) + 1)
)
os.environ["EPICS_CA_AUTO_ADDR_LIST"] = "NO"


@dataclass
class Instrument:
    """A laboratory with its configuration, driven as a person would."""

    lab: Lab
    config: Config

    def cryoline(
        self, *arguments: str, timeout_s: float = 120, key: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of cryoline here; ``key`` is another API key."""
        secrets = {API_KEY_VARIABLE: key} if key else {}
        return subprocess.run(
            [sys.executable, "-m", "cryoline.acquisition.cli", *arguments],
            env=self.environment | secrets,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command and return at once; it leads its own process group."""
        return subprocess.Popen(
            [sys.executable, "-m", "cryoline.acquisition.cli", *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a person who has set CRYOLINE_CONFIG."""
        return {**os.environ, "CRYOLINE_CONFIG": str(self.config.path)}

    def reset(self, seed: int = 1) -> None:
        """Give the laboratory a fresh cell and a seed, by its PVs."""
        import epics

        if epics.caget("SIM:POT1:State_RBV", timeout=5) == 2:
            epics.caput("SIM:POT1:Stop", 1, wait=True, timeout=10)
        epics.caput("SIM:LAB:Reset", seed, wait=True, timeout=20)
        epics.caput("SIM:LAB:Factor", FACTOR, wait=True, timeout=10)

    @cached_property
    def tiled(self) -> Any:
        """Tiled's own client, as anybody would connect it; closed at the end."""
        from tiled.client import from_uri

        server = TiledServer.from_config(self.config)
        return from_uri(server.url(), api_key=server.api_key())


@pytest.fixture(scope="session")
def bridge_port() -> int:
    """Return a port beside the laboratory's, where clients look for a bridge too."""
    return _PORT + len(GROUPS)


@pytest.fixture(scope="session")
def instrument(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instrument]:
    """Return the one laboratory of this test session; services are not up."""
    directory = tmp_path_factory.mktemp("instrument")
    with start_lab(directory, seed=1, factor=FACTOR, first_port=_PORT) as lab:
        yield Instrument(lab, load_config(directory / "instrument.toml"))


@pytest.fixture
def lab(instrument: Instrument) -> Lab:
    """Return the laboratory, reset: fresh cell, no program, seed 1."""
    instrument.reset()
    return instrument.lab


@pytest.fixture(scope="session")
def tiled_server(
    instrument: Instrument, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TiledServer]:
    """Return the one Tiled server of this test session; it reads all tests' files."""
    server = replace(
        TiledServer.from_config(instrument.config),
        readable=(tmp_path_factory.getbasetemp(),),
    )
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def served(instrument: Instrument, tiled_server: TiledServer) -> Iterator[Instrument]:
    """Return the laboratory with Tiled, publisher and analysis worker up."""
    services = Services(instrument.config)
    services.up()
    yield instrument
    if "tiled" in vars(instrument):
        instrument.tiled.context.close()
    services.down(("publisher", "analysis_worker"))
