"""Wires of 1, 36 and 100 cycles at the papers' dose: errors, and measures of mixing.

    python bench/mixing.py --seeds 3 --first-seed 21 [--json]

Each wire's guided volumes are held against the truth (an empty volume has an error of
1), and so are their measures: a band is the value and two of its own standard errors
to either side, `inside` says whether it holds the truth. An order of 1 < 36 < 100
`holds` on a seed by the values, and is `apart` there by more than two standard errors
of each difference. About 10 CPU seconds a wire.
"""

import argparse
import json
import sys
from dataclasses import asdict, replace
from itertools import pairwise
from typing import Any

import dose_score_methods as methods
import numpy as np
from dose_score_data import ANGLES_DEG, make_specimen, measure
from dose_score_marks import SCORED, Marks

from cryoline.analysis.mixing import mixing, volume_measures

CYCLES = (1, 36, 100)
ORDERED = ("sei_in_core", "sei_thickness_nm")
BAND = 2.0


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=21)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    report = compared(list(seeds))
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        _print(report)


def compared(seeds: list[int], *, rounds: int = 3, **size: Any) -> dict[str, Any]:
    """Return rows of errors, of measures, and of their order.

    size: of the specimens, as that of `make_specimen`
    """
    errors: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        for n_cycles in CYCLES:
            error, measures = _wire(n_cycles, seed, rounds, size)
            errors.append(error)
            rows += measures
            print(f"cycles {n_cycles}, seed {seed}: measured", file=sys.stderr)
    order = [_order(rows, name, seed) for name in ORDERED for seed in seeds]
    return {"seeds": seeds, "errors": errors, "measures": rows, "order": order}


def _wire(
    n_cycles: int, seed: int, rounds: int, size: dict[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the errors of one wire's volumes, and a row for each measure."""
    specimen = make_specimen(n_cycles, seed, trap=False, **size)
    measured = measure(specimen, 1.0)
    guide = methods.guide_of(measured.haadf, measured.voxel_nm)
    made = []

    def reconstruct(counts, background, exposure):
        given = replace(
            measured, counts=counts, background=background, exposure=exposure
        )
        made.append(methods.guided(given, guide))
        return made[-1]

    found = mixing(
        reconstruct,
        measured.counts,
        ANGLES_DEG,
        measured.voxel_nm,
        background=measured.background,
        exposure=measured.exposure,
        rounds=rounds,
    )
    truth = asdict(volume_measures(specimen.truth, specimen.voxel_nm))
    marks = Marks(specimen)
    volumes = {
        "guided": made[0],  # of all counts; those of halves follow
        "em_gauss": methods.blurred(methods.em(measured, 10), methods.GAUSS_VOXELS),
    }
    wire = {"cycles": n_cycles, "seed": seed}
    error = wire | {
        name: dict(zip(SCORED, np.round(marks.errors(v), 4).tolist(), strict=True))
        for name, v in volumes.items()
    }
    rows = []
    for name, one in found.items():
        low, high = one.value - BAND * one.sigma, one.value + BAND * one.sigma
        rows.append(
            wire
            | {
                "measure": name,
                "truth": truth[name],
                "value": one.value,
                "sigma": one.sigma,
                "low": low,
                "high": high,
                "inside": bool(low <= truth[name] <= high),
                "trusted": one.trusted,
                "why": one.why,
                "caveat": one.caveat,
            }
        )
    return error, rows


def _order(rows: list[dict[str, Any]], name: str, seed: int) -> dict[str, Any]:
    """Return whether a measure rises with the cycles, and by more than its errors."""
    chosen = [
        next(
            row
            for row in rows
            if (row["measure"], row["cycles"], row["seed"]) == (name, n, seed)
        )
        for n in CYCLES
    ]
    steps = [b["value"] - a["value"] for a, b in pairwise(chosen)]
    sigmas = [float(np.hypot(a["sigma"], b["sigma"])) for a, b in pairwise(chosen)]
    return {
        "measure": name,
        "seed": seed,
        "values": [row["value"] for row in chosen],
        "truth": [row["truth"] for row in chosen],
        "holds": all(step > 0 for step in steps),
        "apart": all(d > BAND * s for d, s in zip(steps, sigmas, strict=True)),
        "against": any(d < -BAND * s for d, s in zip(steps, sigmas, strict=True)),
    }


def _print(report: dict[str, Any]) -> None:
    for row in report["errors"]:
        print(row)
    for row in report["measures"]:
        print(
            f"{row['measure']:17s} N={row['cycles']:<4d} seed {row['seed']:<3d} truth "
            f"{row['truth']:7.3f}  {row['low']:7.3f} {row['value']:7.3f} "
            f"{row['high']:7.3f}  {'inside' if row['inside'] else 'OUTSIDE'}  "
            f"{'trusted' if row['trusted'] else 'not trusted'}"
        )
    for row in report["order"]:
        values = "  ".join(f"{v:.3f}" for v in row["values"])
        print(
            f"{row['measure']:17s} seed {row['seed']}: {values}  order "
            f"{'holds' if row['holds'] else 'does not hold'}, "
            f"{'apart' if row['apart'] else 'not apart'}"
        )


if __name__ == "__main__":
    main()
