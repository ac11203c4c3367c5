"""A Channel Access client of the session's laboratory, and programs for it."""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest

from cryoline.sim.laboratory import Lab

TIMEOUT_S = 20.0


@pytest.fixture(scope="session")
def own_lab(request: pytest.FixtureRequest) -> Lab:
    """The session's one laboratory, not reset between tests."""
    return request.getfixturevalue("instrument").lab


class Client:
    """Reads and writes PVs as a generic Channel Access client does."""

    def __init__(self) -> None:
        import epics

        self._epics = epics
        self._pvs: dict[str, Any] = {}

    def pv(self, name: str) -> Any:
        """A connected PV with its control values."""
        if name not in self._pvs:
            pv = self._epics.PV(name, form="ctrl", auto_monitor=False)
            assert pv.wait_for_connection(TIMEOUT_S), f"{name} does not answer"
            self._pvs[name] = pv
        return self._pvs[name]

    def connect(self, names: Iterable[str]) -> None:
        """Connect many at once, which takes no longer than one."""
        for name in set(names) - set(self._pvs):
            self._pvs[name] = self._epics.PV(name, form="ctrl", auto_monitor=False)
        for name in names:
            assert self.pv(name).wait_for_connection(TIMEOUT_S), f"{name}: no answer"

    def get(self, name: str, **options: Any) -> Any:
        """The present value."""
        value = self.pv(name).get(use_monitor=False, timeout=TIMEOUT_S, **options)
        assert value is not None, f"{name} gave no value"
        return value

    def text(self, name: str) -> str:
        """The present value as a text."""
        return self.get(name, as_string=True)

    def put(self, name: str, value: Any) -> None:
        """Write, and wait until it is done."""
        assert self.pv(name).put(value, wait=True, timeout=TIMEOUT_S) == 1, name

    def severity(self, name: str) -> int:
        """The alarm severity: 0 none, 1 minor, 2 major, 3 invalid."""
        self.get(name)
        return self.pv(name).severity

    def until(self, condition: Callable[[], Any], what: str) -> None:
        """Wait for something that must happen soon."""
        deadline_s = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < deadline_s, f"never happened: {what}"
            self._epics.ca.poll(0.02)

    def points(self, first: int) -> np.ndarray:
        """A page of points, checked against its header."""
        self.put("SIM:POT1:PointRequest", first)
        block = self.get("SIM:POT1:Points_RBV")
        head = block[:4].astype(int)
        assert head[0] == first
        assert str(head[3]) == self.text("SIM:POT1:BootId_RBV")
        return block[4 : 4 + head[1] * head[2]].reshape(head[1], head[2])


@pytest.fixture(scope="session")
def client(own_lab: Lab) -> Client:
    """The one Channel Access client of this process."""
    return Client()


@pytest.fixture
def ca(client: Client) -> Iterator[Client]:
    """A client of a laboratory in its first state, free-running at factor 1."""
    factor = client.get("SIM:LAB:Factor")

    def restore(factor: float) -> None:
        client.put("SIM:LAB:Mode", 0)
        client.put("SIM:LAB:Factor", factor)
        client.put("SIM:LAB:Reset", 1)

    restore(1.0)
    yield client
    restore(factor)


@pytest.fixture
def voltammetry() -> Callable[..., str]:
    """Program texts: a voltammetry from open circuit."""

    def program(
        *, uid: str = "cv", rate_mv_per_s: float = 0.2, cycle_count: int = 1
    ) -> str:
        def scan(end_v: float) -> dict[str, Any]:
            return {
                "type": "voltage_scan",
                "start_v": None,
                "end_v": end_v,
                "rate_mv_per_s": rate_mv_per_s,
            }

        return json.dumps(
            {
                "uid": uid,
                "safety": {
                    "potential_min_v": -0.1,
                    "potential_max_v": 3.2,
                    "current_max_a": 0.01,
                },
                "record": {"dv_v": 0.001, "dt_s": 60.0},
                "steps": [
                    scan(0.01),
                    scan(3.0),
                    {"type": "loop", "goto_step": 0, "cycle_count": cycle_count},
                ],
                "cycle_starts_at_step": 0,
            }
        )

    return program
