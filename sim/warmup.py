"""Compile, or load from the cache, everything the world will run."""

from cryoline.sim.cell_parameters import wafer
from cryoline.sim.cell_source import CellSource
from cryoline.sim.potentiostat import Potentiostat
from cryoline.sim.transfer import TransferChain
from cryoline.sim.vessels import Glovebox

__all__ = ["warm_up"]

_PROGRAM = """{
  "uid": "warm-up",
  "safety": {"potential_min_v": 0.0, "potential_max_v": 5.0, "current_max_a": 0.1},
  "record": {"dv_v": 0.001, "dt_s": 1.0},
  "steps": [{"type": "voltage_scan", "end_v": 2.79, "rate_mv_per_s": 1.0}]
}"""


def warm_up() -> None:
    """Run each kernel once, on models that are thrown away."""
    potentiostat = Potentiostat(CellSource(wafer()), seed=0)
    potentiostat.load(_PROGRAM)
    potentiostat.start(0.0)
    potentiostat.advance(100.0)
    potentiostat.advance(200.0)
    glovebox = Glovebox(seed=0)
    glovebox.advance(100.0)
    TransferChain(glovebox).advance(1.0)
