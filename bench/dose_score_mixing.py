"""Measures of mixing on wires of 1, 36 and 100 cycles at the papers' dose.

    python bench/dose_score_mixing.py [SEEDS] [FIRST_SEED]

Prints truth, value, standard error and trust of each measure as JSON lines, and then
the mean and spread over the seeds. About 10 CPU seconds a wire.
"""

import json
import sys
from dataclasses import asdict, replace
from typing import Any

import dose_score_methods as methods
import numpy as np
from dose_score_data import ANGLES_DEG, make_specimen, measure

from cryoline.analysis.mixing import mixing, volume_measures

CYCLES = (1, 36, 100)


def measures(n_cycles: int, seed: int) -> dict[str, Any]:
    """Return name -> truth, value, sigma, trusted of one wire."""
    specimen = make_specimen(n_cycles, seed, trap=False)
    measured = measure(specimen, 1.0)
    guide = methods.guide_of(measured.haadf, measured.voxel_nm)

    def reconstruct(counts, background, exposure):
        given = replace(
            measured, counts=counts, background=background, exposure=exposure
        )
        return methods.guided(given, guide)

    found = mixing(
        reconstruct,
        measured.counts,
        ANGLES_DEG,
        measured.voxel_nm,
        background=measured.background,
        exposure=measured.exposure,
    )
    truth = asdict(volume_measures(specimen.truth, specimen.voxel_nm))
    return {
        name: {"truth": round(truth[name], 4)}
        | {
            k: v if isinstance(v, bool | str) else round(v, 4)
            for k, v in asdict(m).items()
        }
        for name, m in found.items()
    }


def main() -> None:
    """Print each wire, then what the seeds say together."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 21
    rows: dict[int, list[dict[str, Any]]] = {n: [] for n in CYCLES}
    for seed in range(first, first + count):
        for n in CYCLES:
            rows[n].append(measures(n, seed))
            print(json.dumps({"cycles": n, "seed": seed, **rows[n][-1]}), flush=True)
    for name in rows[1][0]:
        for n in CYCLES:
            values, truths = (
                np.array([row[name][key] for row in rows[n]])
                for key in ("value", "truth")
            )
            print(
                f"{name:18s} N={n:<4d} truth {truths.mean():7.3f}  measured "
                f"{values.mean():7.3f} +- {values.std():.3f}  off by "
                f"{np.sqrt(np.mean((values - truths) ** 2)):.3f} rms"
            )


if __name__ == "__main__":
    main()
