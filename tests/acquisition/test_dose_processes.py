"""Several processes at one ledger, some of them killed in the middle."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

COMMON = """
import json, os, random, signal, sqlite3, statistics, sys, time
from pathlib import Path
from cryoline.acquisition.dose import DoseLedger
from cryoline.acquisition.errors import DoseRefused
from cryoline.devices.exposure import Exposure

path = Path(sys.argv[1])
frame = Exposure(
    specimen="wire-1", width_px=512, height_px=512, pixel_nm=2.134, dwell_s=4e-6
)

def opened(limit=1e6):
    return DoseLedger(path, limit_e_per_nm2=limit)

def reserve(ledger):
    return ledger.reserve(
        frame, current_pa=150, current_limit_pa=165, boot_id="b", counter=0
    )

def in_eight_processes(child):
    pids = []
    for number in range(8):
        pid = os.fork()
        if pid == 0:
            try:
                report = json.dumps(child(number))
                path.with_suffix(f".{number}").write_text(report)
            except BaseException as error:
                print(error, file=sys.stderr)
            finally:
                os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)
    return [json.loads(path.with_suffix(f".{n}").read_text()) for n in range(8)]
"""

SPEND = """
def child(number):
    ledger, accepted, refused, times = opened(), [], 0, []
    for _ in range(200):
        begun = time.perf_counter()
        try:
            accepted.append(reserve(ledger).uid)
        except DoseRefused:
            refused += 1
        times.append(time.perf_counter() - begun)
    return accepted, refused, times

parts = in_eight_processes(child)
with opened() as ledger:
    used = ledger.usage("wire-1", "region-1")
    print(json.dumps({
        "accepted": [uid for uids, _, _ in parts for uid in uids],
        "refused": sum(refused for _, refused, _ in parts),
        "rows": [t.uid for t in ledger.unsettled()],
        "reserved": used.reserved_e_per_nm2,
        "left": used.left_e_per_nm2,
        "each": ledger.unsettled()[0].reserved_e_per_nm2,
        "median_ms": 1e3 * statistics.median(t for _, _, ts in parts for t in ts),
    }))
"""

NEIGHBOURS = """
# Fields of 1093 nm, 400 nm apart: most of each is hit by two others or more.
places = {f"region-{k}": 400.0 * k for k in range(4)}

def neighbour(ledger, number, k):
    return ledger.reserve(
        frame.model_copy(update={
            "region": f"region-{(number + k) % 4}", "tilt_deg": (k % 3) * 20.0
        }),
        current_pa=150, current_limit_pa=165, boot_id="b", counter=0,
    )

with opened(3e4) as ledger:
    for region, x_nm in places.items():
        ledger.place_region("wire-1", region, x_nm=x_nm, y_nm=0, reason="a test")

def child(number):
    ledger, accepted, refused = opened(3e4), [], 0
    for k in range(25):
        try:
            accepted.append(neighbour(ledger, number, k).uid)
        except DoseRefused:
            refused += 1
    return accepted, refused

parts = in_eight_processes(child)
with opened(3e4) as ledger:
    tickets = ledger.unsettled()
    found = ledger.fluence_map("wire-1", cell_nm=8.0)
    print(json.dumps({
        "accepted": [uid for uids, _ in parts for uid in uids],
        "refused": sum(refused for _, refused in parts),
        "rows": [t.uid for t in tickets],
        "tickets": [
            [places[t.exposure.region], t.exposure.tilt_deg, t.reserved_e_per_nm2]
            for t in tickets
        ],
        "most": found.reserved_e_per_nm2.max(),
    }))
"""

KILL = """
random.seed(4)
report = {"kills": 0, "told": 0, "lost": 0, "most_untold": 0, "uneven": 0}
with opened(1e9) as ledger:
    each = reserve(ledger).reserved_e_per_nm2
known = 1
for _ in range(25):
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        ledger = opened(1e9)
        while True:
            os.write(writing, (reserve(ledger).uid + "\\n").encode())
    os.close(writing)
    time.sleep(random.uniform(0.005, 0.06))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with open(reading) as pipe:
        told = set(pipe.read().split())
    with opened(1e9) as ledger:
        rows = {t.uid for t in ledger.unsettled()}
        used = ledger.usage("wire-1", "region-1")
    report["kills"] += 1
    report["told"] += len(told)
    report["lost"] += len(told - rows)
    untold = len(rows) - known - len(told)
    report["most_untold"] = max(report["most_untold"], untold)
    report["uneven"] += abs(used.reserved_e_per_nm2 - len(rows) * each) > 1e-4
    known = len(rows)
connection = sqlite3.connect(path)
report["integrity"] = connection.execute("PRAGMA integrity_check").fetchone()[0]
connection.close()
print(json.dumps(report))
"""


def run(script: str, path: Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", COMMON + script, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def test_eight_processes_never_get_more_than_the_limit(tmp_path: Path) -> None:
    report = run(SPEND, tmp_path / "dose.sqlite")

    accepted = len(report["accepted"])
    print(f"median {report['median_ms']:.2f} ms a reservation, 8 at once")  # noqa: T201
    assert accepted + report["refused"] == 8 * 200
    assert sorted(report["accepted"]) == sorted(report["rows"])
    assert report["reserved"] <= 1e6
    assert abs(report["reserved"] - accepted * report["each"]) < 1e-4
    # And not less than there was: a further one would not have fitted.
    assert report["left"] < report["each"]


def test_eight_processes_on_overlapping_regions_fill_no_cell_above_the_limit(
    tmp_path: Path,
) -> None:
    report = run(NEIGHBOURS, tmp_path / "dose.sqlite")

    assert len(report["accepted"]) + report["refused"] == 8 * 25
    assert sorted(report["accepted"]) == sorted(report["rows"])
    # Summed up here by projecting points along the row of regions, 2 nm apart, but
    # where an edge cuts a cell: that is as wide as the uncertainty of a place.
    half_nm = 512 * 2.134 / 2
    fluence = []
    for x in range(-1500, 2800, 2):
        fields = [
            (half_nm - abs(x - x_nm) * math.cos(math.radians(tilt_deg)), e_per_nm2)
            for x_nm, tilt_deg, e_per_nm2 in report["tickets"]
        ]
        if all(abs(depth_nm) > 20 for depth_nm, _ in fields):
            fluence.append(sum(e for depth_nm, e in fields if depth_nm > 0))
    one = report["tickets"][0][2]
    assert len(fluence) > 500
    assert 3e4 - one < max(fluence) <= 3e4
    assert report["most"] == pytest.approx(max(fluence), abs=1e-3)


def test_a_reservation_of_a_killed_process_is_there_or_not_and_never_half(
    tmp_path: Path,
) -> None:
    report = run(KILL, tmp_path / "dose.sqlite")

    assert report["kills"] == 25
    assert report["told"] > 0
    assert report["lost"] == 0
    assert report["most_untold"] <= 1
    assert report["uneven"] == 0
    assert report["integrity"] == "ok"
