"""Several processes at one ledger, some of them killed in the middle."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

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
    path.with_suffix(f".{number}").write_text(json.dumps([accepted, refused, times]))

pids = []
for number in range(8):
    pid = os.fork()
    if pid == 0:
        try:
            child(number)
        except BaseException as error:
            print(error, file=sys.stderr)
        finally:
            os._exit(0)
    pids.append(pid)
for pid in pids:
    os.waitpid(pid, 0)
parts = [json.loads(path.with_suffix(f".{n}").read_text()) for n in range(8)]
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
