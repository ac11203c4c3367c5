"""Measure the demo's thresholds: mean and spread of each line over ten seeds.

    python bench/demo_thresholds.py [SEEDS] [DIR]

About two minutes a seed. What it prints goes into acquisition/demo_map_checks.py and
docs/reference/demo-thresholds.md.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

FIRST_SEED = 101
"""Not those that the tests take."""


def lines_of(seed: int, out: Path) -> dict[str, float]:
    """Run one demo; return the value of each line."""
    done = out / "demo.json"
    if not done.exists():
        command = [sys.executable, "-m", "cryoline.acquisition.cli", "demo"]
        subprocess.run(
            [*command, "--out", str(out), "--seed", str(seed)],
            stdout=subprocess.DEVNULL,
            check=False,
        )
    return {line["name"]: line["value"] for line in json.loads(done.read_text())}


def main() -> None:
    """Print mean and standard deviation of each line, and three of it on both sides."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    folder = Path(sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp())
    runs = [
        lines_of(seed, folder / f"seed-{seed}")
        for seed in range(FIRST_SEED, FIRST_SEED + count)
    ]
    found = {}
    for name in runs[0]:
        values = [run[name] for run in runs]
        mean, spread = statistics.mean(values), statistics.stdev(values)
        found[name] = {
            "mean": mean,
            "sd": spread,
            "low": mean - 3 * spread,
            "high": mean + 3 * spread,
        }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
