"""Times the kernels of cryoline.analysis against their peers.

    python bench/kernels.py [--json] [--only tomography counts spectra drift]

The peers come with the extra `bench` (pip install -e .[bench]); several are GPL, and
nothing else imports them. Each row is a ratio of CPU seconds of this process, measured
in turns, median of seven: it holds on a busy machine to about a quarter.
"""

import argparse
import contextlib
import importlib
import json
import os
import sys
from typing import Any

# A BLAS' threads wait in a loop, and CPU seconds would count it. Before numpy comes.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

MODULES = {
    "tomography": "rows_tomography",
    "counts": "rows_counts",
    "spectra": "rows_spectra",
    "drift": "rows_drift",
}


def main() -> None:
    """Print a row for each kernel and peer."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", choices=sorted(MODULES), nargs="*")
    options = parser.parse_args()
    rows: list[Any] = []
    exactness: dict[str, float] = {}
    for name in options.only or MODULES:
        # Some peers greet on standard output, which is the report's.
        with contextlib.redirect_stdout(sys.stderr):
            module = importlib.import_module(MODULES[name])
            rows += module.rows()
            exactness |= module.exactness()
    if options.json:
        rows_as_dicts = [row.as_dict() for row in rows]
        print(json.dumps({"rows": rows_as_dicts, "exactness": exactness}, indent=2))
        return
    for row in rows:
        met = "met" if row.ratio >= row.goal else f"goal {row.goal:g}"
        print(f"{row.kernel:60s} {row.peer:24s} x{row.ratio:7.2f}  {met}")
    for name, value in exactness.items():
        print(f"{name:85s} {value:.3g}")


if __name__ == "__main__":
    main()
