"""Random lives of the dose ledger, and every order of its steps, beyond CI's time.

    python bench/dose_machine.py [--json] [--examples 10000] [--steps 25] [--quick]

First the machine of tests/acquisition/test_dose_machine.py, in several processes; then
the scenarios that test_dose_exploration.py leaves to this bench, each to its end. The
status is 1 if the ledger counts less than was shot, or allows more than the limit.
"""

import argparse
import json
import os
import runpy
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1] / "tests" / "acquisition"


def random_lives(examples: int, steps: int, jobs: int) -> dict[str, Any]:
    """Run the machine; its failing example goes to stderr."""
    begun = time.monotonic()
    each = -(-examples // jobs)
    runs = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "--timeout=0",
                f"--hypothesis-seed={seed}",
                str(TESTS / "test_dose_machine.py"),
            ],
            env=os.environ
            | {"CRYOLINE_DOSE_EXAMPLES": str(each), "CRYOLINE_DOSE_STEPS": str(steps)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in range(jobs)
    ]
    failures = 0
    for run in runs:
        output, _ = run.communicate()
        if run.returncode != 0:
            failures += 1
            sys.stderr.write(output)
    return {
        "examples": each * jobs,
        "steps": steps,
        "failures": failures,
        "seconds": round(time.monotonic() - begun, 1),
    }


def every_order(name: str) -> dict[str, Any]:
    """Explore one of the deeper scenarios."""
    module = runpy.run_path(str(TESTS / "test_dose_exploration.py"))
    begun = time.monotonic()
    try:
        explored = module["explore"](module["DEEPER"][name], module["Disk"]())
    except module["Violation"] as error:
        return {"scenario": name, "violation": str(error)}
    return {
        "scenario": name,
        "states": explored.states,
        "executions": explored.executions,
        "seconds": round(time.monotonic() - begun, 1),
    }


def main() -> int:
    """Run both, and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, add_help=True)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--quick", action="store_true", help="no deeper exploration")
    args = parser.parse_args()

    lives = random_lives(args.examples, args.steps, args.jobs)
    if not args.json:
        print(
            f"{lives['examples']} random lives of {lives['steps']} steps: "
            f"{lives['failures']} failed ({lives['seconds']} s)",
            flush=True,
        )
    names = runpy.run_path(str(TESTS / "test_dose_exploration.py"))["DEEPER"]
    orders = []
    for name in [] if args.quick else names:
        orders.append(every_order(name))
        if not args.json:
            print(orders[-1], flush=True)
    if args.json:
        print(json.dumps({"lives": lives, "orders": orders}))
    return int(bool(lives["failures"]) or any("violation" in o for o in orders))


if __name__ == "__main__":
    sys.exit(main())
