"""Holds the simulated cells against what the three papers say of cycling.

    python bench/cycling_fidelity.py [--json] [--cycles 100]

One row a number: name, value, the band that it should lie in, whether it does, and
where the band comes from. A paper's number has the band that the paper gives, or that
of the digits it is printed with; where a paper gives words only, the row says so. A
value outside is a difference between simulation and paper, and is printed as such.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cryoline.analysis.cycling_tables import cycling_tables
from cryoline.sim.cell import SiliconHalfCell
from cryoline.sim.cell_parameters import CellParameters, nanowire, solid_state, wafer
from cryoline.sim.cell_state import (
    CRYSTALLINE_C,
    CURRENT_CONTROL,
    OPEN_CIRCUIT,
    POTENTIAL_CONTROL,
    PROGRESS_SIZE,
    RECORDED_V,
    SUB_STEP_S,
    Limits,
    Segment,
)
from cryoline.sim.measurement import Digitiser

WIRE_AREA_CM2 = 1.27
WIRE_LOADING_MG_PER_CM2 = 0.168
OPEN = Limits(-5.0, 6.0, 1.0, 1e-3, 60.0)


class Row(NamedTuple):
    """One number."""

    name: str
    value: float
    low: float
    high: float
    inside: bool
    source: str


def row(name: str, value: float, low: float, high: float, source: str) -> Row:
    """Judge a value."""
    return Row(name, float(value), low, high, bool(low <= value <= high), source)


class Bench:
    """A cell under a potentiostat without noise, and all that was recorded."""

    def __init__(self, parameters: CellParameters, sub_step_s: float) -> None:
        self.cell = SiliconHalfCell(parameters)
        self.time_s = 0.0
        self.half = 0
        self._sub_step_s = sub_step_s
        self._parts: list[NDArray[np.float64]] = []

    def run(self, segment: Segment, cycle: int) -> None:
        """Run one segment to its end."""
        progress = np.zeros(PROGRESS_SIZE)
        progress[SUB_STEP_S] = self._sub_step_s
        progress[RECORDED_V] = self.cell.potential_v
        rows = np.empty((20_000, 4))
        count, _ = self.cell.drive(segment, OPEN, progress, math.inf, rows)
        rows = rows[:count]
        number = np.full((count, 2), (cycle, self.half))
        rows = np.hstack([rows, number])
        rows[:, 0] += self.time_s
        rows[:, 3] /= 3.6
        self.time_s = float(rows[-1, 0])
        self._parts.append(rows)

    def sweep(self, end_v: float, cycle: int, rate_v_per_s: float = 2e-4) -> None:
        """Scan from the present potential."""
        start_v = self.cell.potential_v
        duration_s = abs(end_v - start_v) / rate_v_per_s
        slope = math.copysign(rate_v_per_s, end_v - start_v)
        self.run(
            Segment(POTENTIAL_CONTROL, start_v, slope, duration_s, -math.inf), cycle
        )
        self.half += 1

    def charge(
        self, current_a: float, until_v: float, rest_s: float, cycle: int
    ) -> None:
        """Pass a constant current, then rest."""
        self.run(Segment(CURRENT_CONTROL, current_a, 0.0, math.inf, until_v), cycle)
        self.run(Segment(OPEN_CIRCUIT, 0.0, 0.0, rest_s, -math.inf), cycle)
        self.half += 1

    def points(self) -> dict[str, NDArray[np.float64]]:
        """Return the columns of all points."""
        rows = np.vstack(self._parts)
        names = ("instrument_time_s", "potential_v", "current_a", "charge_mah",
                 "cycle_number", "half_cycle")  # fmt: skip
        return dict(zip(names, rows.T, strict=True))


def voltammetry() -> Iterator[Row]:
    """S0: a wafer, 25 cycles from open circuit between 0.01 and 3.0 V at 0.2 mV/s."""
    Bench(wafer(), 1.0).sweep(2.7, 1)  # loads what was compiled
    bench = Bench(wafer(), 1.0)
    began = time.process_time()
    depths_nm = []
    for cycle in range(1, 26):
        for end_v in (0.01, 3.0):
            bench.sweep(end_v, cycle)
        unreacted = bench.cell.state[CRYSTALLINE_C] / bench.cell.parameters.capacity_c
        depths_nm.append(2000.0 * (1 - unreacted))
    speed = bench.time_s / (time.process_time() - began)
    tables = cycling_tables(bench.points())
    cycles, peaks = tables["cycles"], tables["peaks"]
    found = list(
        zip(
            peaks["cycle_number"], peaks["direction"], peaks["potential_v"], strict=True
        )
    )

    def peak(cycle: int, direction: str, near_v: float) -> float:
        places = [v for n, d, v in found if (n, d) == (cycle, direction)]
        return min(places, key=lambda v: abs(v - near_v), default=math.nan)

    lithiation = np.array(cycles["lithiation_mah"])
    efficiency = np.array(cycles["coulombic_efficiency"])
    exact_s = (2.8 - 0.01 + 49 * 2.99) / 2e-4
    late_sei = sum(n > 1 and d == "cathodic" and v > 0.5 for n, d, v in found)
    s0, brief = "S0", "textbook"
    yield row("S0 duration of 25 cycles, s", bench.time_s, exact_s - 1, exact_s + 1, s0)
    yield row("S0 times real time, by CPU time", speed, 1e5, math.inf, "promised")
    yield row("S0 SEI peak, V", peak(1, "cathodic", 0.9), 0.8, 1.2, brief)
    yield row("S0 SEI peaks after cycle 1", late_sei, 0, 0, brief)
    (onset_v,) = tables["onsets"]["onset_v"]
    yield row("S0 onset of SEI reduction, V", onset_v, 0.9, 1.4, brief)
    for cycle in (2, 25):
        for where_v in (0.2, 0.08):
            found_v = peak(cycle, "cathodic", where_v)
            name = f"S0 cathodic peak near {where_v} V, cycle {cycle}, V"
            yield row(name, found_v, where_v - 0.05, where_v + 0.05, brief)
    for cycle in (1, 25):
        for where_v in (0.3, 0.5):
            found_v = peak(cycle, "anodic", where_v)
            name = f"S0 anodic peak near {where_v} V, cycle {cycle}, V"
            yield row(name, found_v, where_v - 0.05, where_v + 0.05, brief)
    fading = "S0 Fig. S17: evident, no number"
    for later, earlier in ((10, 2), (25, 10)):
        ratio = lithiation[later - 1] / lithiation[earlier - 1]
        name = f"S0 cathodic charge, cycle {later} / {earlier}"
        yield row(name, ratio, 0, 0.95, fading)
    grew = (np.diff(lithiation) > 0).sum()
    yield row("S0 cycles whose cathodic charge grew", grew, 0, 0, fading)
    yield row("S0 reacted depth after 25 cycles, nm", depths_nm[24], 20, 30, s0)
    grown_nm = depths_nm[24] - depths_nm[9]
    yield row("S0 growth of it, cycles 10 to 25, nm", grown_nm, 0, 2, "self-limiting")
    yield row("S0 CE of cycle 2", efficiency[1], 0.95, 0.999, "below 1: new SEI")


def galvanostatic(count: int) -> Iterator[Row]:
    """S1: nanowires, formation at 0.06, then 0.4 mA/cm2, 0.02 to 1.5 V."""
    bench = Bench(nanowire(), 2.0)
    for cycle in range(1, count + 1):
        current_a = (0.06e-3 if cycle == 1 else 0.4e-3) * WIRE_AREA_CM2
        bench.charge(-current_a, 0.02, 60.0, cycle)
        bench.charge(current_a, 1.5, 60.0, cycle)
    mass_mg = WIRE_LOADING_MG_PER_CM2 * WIRE_AREA_CM2
    points = bench.points()
    cycles = cycling_tables(points, electrode_mass_mg=mass_mg)["cycles"]
    retention = cycles["retention"]
    efficiency = cycles["coulombic_efficiency"]
    out, back = cycles["lithiation_mah_per_g"], cycles["delithiation_mah_per_g"]
    first = points["half_cycle"] == 0
    charge, potential_v = points["charge_mah"][first], points["potential_v"][first]
    part = charge / charge.min()
    plateau_v = potential_v[(part > 0.2) & (part < 0.6)]
    per_g = bench.cell.capacity_mah / mass_mg * 1e3
    yield row("S1 capacity of Li3.75Si, mAh/g", per_g, 3570, 3600, "S0, S2: ~3600")
    yield row("S1 plateau of c-Si, mean, V", plateau_v.mean(), 0.08, 0.12, "textbook")
    yield row("S1 first lithiation, mAh/g", out[0], 3000, 3579 + 305, "capacity + SEI")
    yield row("S1 first delithiation, mAh/g", back[0], 3000, 3579, "capacity")
    yield row("S1 CE of cycle 1", efficiency[0], 0.80, 0.95, "textbook")
    yield row("S1 CE of cycle 2", efficiency[1], 0.95, 0.995, "textbook")
    if count >= 36:
        yield row("S1 retention, cycle 36", retention[35], 0.9445, 0.9455, "S1: 94.5 %")
        yield row("S1 CE of cycle 36", efficiency[35], 0.99, 0.999, "textbook")
    if count >= 100:
        yield row("S1 retention, cycle 100", retention[99], 0.6915, 0.6925,
                  "S1: 69.2 %")  # fmt: skip
    for current_ma, said in ((0.06, 0.1), (0.4, 1.0)):
        c_rate = current_ma / (WIRE_LOADING_MG_PER_CM2 * per_g * 1e-3)
        yield row(f"S1 C-rate of {current_ma} mA/cm2", c_rate, 0.9 * said, 1.1 * said,
                  f"S1: about {said:g}C; 0.6 mAh/cm2 there, too")  # fmt: skip


def low_rate() -> Iterator[Row]:
    """S1, second cell: 2 cycles at 0.02C, 98 at 1C, and the 101st at 0.02C."""
    bench = Bench(nanowire(), 5.0)
    one_c_a = bench.cell.capacity_mah * 1e-3
    kept = []
    for cycle, c_rate in enumerate([0.02] * 2 + [1.0] * 98 + [0.02], 1):
        bench.charge(-c_rate * one_c_a, 0.02, 60.0, cycle)
        before_mah = bench.cell.charge_mah
        bench.charge(c_rate * one_c_a, 1.5, 60.0, cycle)
        kept.append(bench.cell.charge_mah - before_mah)
    again = (kept[100] - kept[99]) / (kept[1] - kept[99])
    yield row("S1 part of the loss found again at 0.02C", again, 0.05, 0.95,
              "S1 Suppl. Fig. 2: partly, no number")  # fmt: skip


def solid() -> Iterator[Row]:
    """S2: 500 uA, -0.6 to 1.0 V against In/InLi, rests of 5 min."""
    bench = Bench(solid_state(), 5.0)
    bench.charge(-500e-6, -0.6, 300.0, 1)
    bench.charge(500e-6, 1.0, 300.0, 1)
    points = bench.points()
    cycles = cycling_tables(points, electrode_mass_mg=1.8 * 0.724)["cycles"]
    (out,), (back,) = cycles["lithiation_mah_per_g"], cycles["delithiation_mah_per_g"]
    ratio = cycles["coulombic_efficiency"][0]
    c_rate = 0.5 / bench.cell.capacity_mah
    low_v, high_v = points["potential_v"].min(), points["potential_v"].max()
    yield row("S2 first lithiation, mAh/g", out, 3314 * 0.98, 3314 * 1.02, "S2, 2 %")
    yield row("S2 first delithiation, mAh/g", back, 2537 * 0.98, 2537 * 1.02, "S2, 2 %")
    yield row("S2 first efficiency", ratio, 0.756, 0.776, "S2: 2537/3314")
    yield row("S2 C-rate of 500 uA", c_rate, 0.09, 0.11, "S2: C/10")
    yield row("S2 lowest potential, V", low_v, -0.602, -0.598, "S2")
    yield row("S2 highest potential, V", high_v, 0.998, 1.002, "S2")


def instrument() -> Iterator[Row]:
    """What the potentiostat's converters add; assumed, no data sheet was found."""
    count = 20_000
    digitiser = Digitiser(np.random.default_rng(1), potential_max_v=3.1)
    digitiser.preset_range(5e-4)
    volts, amps, range_a, _ = digitiser.measure(
        np.full(count, 0.5), np.full(count, 5e-4)
    )
    yield row("noise of the current, part of the range", amps.std() / range_a[0],
              1.8e-5, 2.6e-5, "0.002 % [A], and the converter's step")  # fmt: skip
    yield row("noise of the potential, V", volts.std(), 0, 8e-5,
              "5 uV [A], or the converter's step of 153 uV")  # fmt: skip


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON array")
    parser.add_argument("--cycles", type=int, default=100, help="of the nanowires")
    options = parser.parse_args()
    rows = [
        *voltammetry(),
        *galvanostatic(options.cycles),
        *low_rate(),
        *solid(),
        *instrument(),
    ]
    if options.json:
        # JSON knows no infinity: an open band has no end.
        ends = [
            {**r._asdict(), "high": r.high if r.high < math.inf else None} for r in rows
        ]
        print(json.dumps(ends, indent=1))
        return
    for r in rows:
        mark = "" if r.inside else "  OUTSIDE"
        print(
            f"{r.name:42} {r.value:12.6g}  {r.low:g} .. {r.high:g}{mark}  ({r.source})"
        )
    print(f"{sum(r.inside for r in rows)} of {len(rows)} inside")


if __name__ == "__main__":
    main()
