"""Measures how long a reservation takes, and how that grows with the ledger.

    python bench/dose_ledger.py [--json] [--exposures 500] [--folder DIR]

Reserves and settles exposures of one region one after the other, as a session does,
and in between appends 200 bytes to a file with fdatasync, which is the least that
any promise to be on disk can cost. All in one process, interleaved, so that a busy
machine slows all of them alike.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from cryoline.acquisition.dose import DoseLedger
from cryoline.devices.exposure import Exposure, ExposureResult, Outcome

FRAME = Exposure(
    specimen="bench", width_px=512, height_px=512, pixel_nm=2.134, dwell_s=4e-6
)


def measure(folder: Path, exposures: int) -> dict[str, float]:
    """Return medians and 99th percentiles, ms."""
    times: dict[str, list[float]] = {
        "reserve": [],
        "settle": [],
        "settle_and_back_up": [],
        "fdatasync": [],
    }
    plain = DoseLedger(folder / "plain.sqlite", limit_e_per_nm2=1e11)
    backed = DoseLedger(
        folder / "backed.sqlite", limit_e_per_nm2=1e11, backup=folder / "copy.sqlite"
    )
    with plain, backed, (folder / "bare").open("ab", buffering=0) as bare:
        for n in range(exposures):
            for ledger, name in ((plain, "settle"), (backed, "settle_and_back_up")):
                begun = time.perf_counter()
                ticket = ledger.reserve(
                    FRAME, current_pa=150, current_limit_pa=165, boot_id="b", counter=n
                )
                times["reserve"].append(time.perf_counter() - begun)
                result = ExposureResult(
                    ticket_uid=ticket.uid,
                    outcome=Outcome.COMPLETE,
                    charge_c=0.9 * ticket.max_charge_c,
                    beam_on_s=ticket.max_time_s,
                    frames=1,
                    counter=n + 1,
                    boot_id="b",
                )
                begun = time.perf_counter()
                ledger.settle(ticket.uid, result)
                times[name].append(time.perf_counter() - begun)
            begun = time.perf_counter()
            bare.write(b"x" * 200)
            os.fdatasync(bare.fileno())
            times["fdatasync"].append(time.perf_counter() - begun)
    report = {}
    for name, values in times.items():
        report[f"{name}_p50_ms"] = 1e3 * statistics.median(values)
        report[f"{name}_p99_ms"] = 1e3 * statistics.quantiles(values, n=100)[98]
    tenth = max(1, exposures // 10)
    first, last = times["reserve"][: 2 * tenth], times["reserve"][-2 * tenth :]
    report["last_tenth_over_first"] = statistics.median(last) / statistics.median(first)
    return report


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exposures", type=int, default=500)
    parser.add_argument("--folder", type=Path, help="On the disk to be measured.")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        report = measure(Path(folder), options.exposures)
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        for name, value in report.items():
            print(f"{name:30} {value:8.3f}")


if __name__ == "__main__":
    main()
