"""Process variables of the clock, of the simulation itself, and of the truth."""

from typing import Final

from cryoline.sim.clock import FACTOR_MAX, FACTOR_MIN
from cryoline.sim.faults import FAULTS
from cryoline.sim.iocs.server import InstrumentServer
from cryoline.sim.iocs.transfer import declare_faults, declare_truth
from cryoline.sim.limits import ADVANCE_MAX_S, SEED_MAX
from cryoline.sim.prefixes import CHANNELS_MAX

__all__ = ["declare"]

_FAULT_TEXTS: Final = {
    "current_rise": ("Current x, in the next exposure", "1"),
    "current_scale": ("Current x, from now on", "1"),
    "ln2_level": ("Dewar is so full; no refill", "%"),
    "stage_temp": ("Tip is so warm", "degC"),
    "drift_burst": ("Further drift", "nm/min"),
    "stage_stuck": ("Axes don't move", ""),
    "disk_full": ("Detectors can't write", ""),
    "stale_frame": ("HAADF gives its last image", ""),
}


def declare(server: InstrumentServer) -> None:
    """Add the records."""
    _declare_clock(server)
    _declare_lab(server)
    truth = server.panels["truth"]
    truth.number("Charge_RBV", "True charge passed", "mAh", -1e3, 1e3, precision=9)
    truth.number("Lithiation_RBV", "... negative, this cycle", "mAh", 0, 1e3)
    truth.number("Delithiation_RBV", "... positive, this cycle", "mAh", 0, 1e3)
    truth.number("Capacity_RBV", "Theoretical capacity", "mAh", 0, 1e3)
    truth.number("SiliconLithium_RBV", "In the live silicon", "mAh", 0, 1e3)
    truth.number("BeamCharge_RBV", "Charge onto the specimen", "C", 0, 1, precision=15)
    truth.number("FluenceMax_RBV", "Fluence of the worst cell", "e/nm2", 0, 1e12)
    declare_truth(server)
    for axis in "XY":
        truth.number(f"Shift{axis}_RBV", "Where the specimen is seen", "nm", -1e7, 1e7)

    async def save(value: int) -> None:
        if value:
            await server.request("truth", "truth.save")

    truth.set_flag("Save", "Write truth/fluence.npy", "idle", "save", save)


def _declare_clock(server: InstrumentServer) -> None:
    async def wake_at(time_s: float) -> None:
        await server.request("clock", "clock.wake_at", time_s=time_s)

    panel = server.panels["clock"]
    panel.text("Epoch_RBV", "UTC of instrument time 0")
    panel.set_number("WakeAt", "Time of an event for Step", "s", 0, 1e12, wake_at)
    panel.choice("Mode_RBV", "How time passes", "free", "stepped")
    panel.number("Factor_RBV", "Instrument s per wall s", "1", FACTOR_MIN, FACTOR_MAX)


def _declare_lab(server: InstrumentServer) -> None:
    async def factor(value: float) -> None:
        await server.request("lab", "lab.factor", factor=value)

    async def mode(value: int) -> None:
        await server.request("lab", "lab.mode", mode=value)

    async def advance(duration_s: float) -> None:
        await server.request("lab", "lab.advance", duration_s=duration_s)

    async def step(value: int) -> None:
        if value:
            await server.request("lab", "lab.step")

    async def reset(seed: int) -> None:
        await server.request("lab", "lab.reset", seed=seed)
        await server.settle()

    async def mount(cell: int) -> None:
        await server.request("lab", "lab.mount", cell=cell)
        await server.settle()

    async def lose_contact(channel: int) -> None:
        await server.request("lab", "potentiostat.lose_contact", channel=channel)
        await server.settle()

    panel = server.panels["lab"]
    panel.set_number(
        "Factor", "Instrument s per wall s", "1", FACTOR_MIN, FACTOR_MAX, factor
    )
    panel.set_choice("Mode", "How time passes", ("free", "stepped"), mode)
    panel.set_number(
        "Advance", "Let time pass (stepped)", "s", 0, ADVANCE_MAX_S, advance
    )
    panel.set_flag("Step", "Run to the next event (stepped)", "idle", "step", step)
    panel.set_number(
        "Reset", "New seed; all as after the start", "1", 0, SEED_MAX, reset, whole=True
    )
    for name, (pv_name, low, high) in FAULTS.items():
        _declare_fault(server, name, pv_name, low, high)
    declare_faults(server)
    panel.set_number(
        "ContactLost",
        "Channel without contact; 0 is well",
        "1",
        *(0, CHANNELS_MAX),
        lose_contact,
        whole=True,
    )
    cells = ("wafer", "nanowire", "recorded", "solid state")
    panel.set_choice("Cell", "Mount a fresh cell", cells, mount)


def _declare_fault(
    server: InstrumentServer, name: str, pv_name: str, low: float, high: float
) -> None:
    async def set_fault(value: float) -> None:
        await server.request("lab", "lab.fault", name=name, value=float(value))
        await server.settle()

    panel = server.panels["lab"]
    description, unit = _FAULT_TEXTS[name]
    if unit:
        panel.set_number(pv_name, description, unit, low, high, set_fault)
    else:
        panel.set_flag(pv_name, description, "well", "faulty", set_fault)
