"""Dose, sample and check at the command line, in this process: no IOC answers."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cryoline.acquisition import connection
from cryoline.acquisition.cli import main
from cryoline.acquisition.config import load_config
from cryoline.acquisition.custody import CustodyRecord
from cryoline.acquisition.dose import DoseLedger
from cryoline.acquisition.dose_config import open_ledger
from cryoline.acquisition.dose_records import Usage
from cryoline.acquisition.dose_report import bar
from cryoline.acquisition.journal_format import encode_line
from cryoline.devices.exposure import (
    Exposure,
    ExposureResult,
    Outcome,
    ProbeCurrent,
    Ticket,
)

CONFIG = """
[instrument]
name = "bench"
data_directory = "data"
minimum_free_mb = 1

[epics]
connection_timeout_s = 0.2

[devices.beam]
plugin = "beam"
prefix = "NOWHERE:BEAM1:"
"""

FRAME = Exposure(
    specimen="nw-01", width_px=512, height_px=512, pixel_nm=2.134, dwell_s=4e-6
)

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "instrument.toml"
    path.write_text(CONFIG)
    monkeypatch.setenv("CRYOLINE_CONFIG", str(path))
    monkeypatch.setenv("COLUMNS", "200")
    return path


@pytest.fixture
def ledger(config: Path) -> Iterator[DoseLedger]:
    with open_ledger(load_config(config)) as ledger:
        yield ledger


@pytest.fixture
def run(config: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command; return its exit code and what it wrote."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, " ".join(err.split())

    return run


def counter(ledger: DoseLedger) -> int:
    return (ledger.last_seen() or ("b", 0))[1]


def reserve(ledger: DoseLedger, **changed: Any) -> Ticket:
    return ledger.reserve(
        Exposure(**(FRAME.model_dump() | changed)),
        current_pa=150,
        current_limit_pa=165,
        boot_id="b",
        counter=counter(ledger),
    )


def settle(ledger: DoseLedger, ticket: Ticket, part: float = 0.9) -> None:
    ledger.settle(
        ticket.uid,
        ExposureResult(
            ticket_uid=ticket.uid,
            outcome=Outcome.COMPLETE,
            charge_c=part * ticket.max_charge_c,
            beam_on_s=ticket.max_time_s,
            frames=1,
            counter=counter(ledger) + 1,
            boot_id="b",
        ),
    )


# dose


def test_show_before_the_first_session_says_that_there_is_no_ledger(run: Run) -> None:
    code, _, error = run("dose", "show")

    assert code == 1
    assert "there is no dose ledger yet; the first session with a beam makes" in error


def test_show_lists_regions_purposes_and_what_is_open(
    ledger: DoseLedger, run: Run
) -> None:
    settle(ledger, reserve(ledger))
    settle(ledger, reserve(ledger, purpose="tracking"))
    still_open = reserve(ledger)
    series = ledger.open_series([FRAME] * 3, current_limit_pa=165.0)
    reserve(ledger, specimen="nw-02")

    code, out, _ = run("dose", "show", "nw-01")

    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0].startswith("nw-01, region-1 #+")
    assert "record 8.14e2 3.62e3 1" in lines
    assert "tracking 8.14e2 0 1" in lines
    assert "fullest cell 1.63e3 3.62e3" in lines
    mean = "; settled as a mean over the field: 1.63e3"
    assert f"9.99e6 left of 1.00e7 e/nm2{mean}" in lines
    assert any(
        line.startswith(f"open ticket {still_open.uid}: 9.05e2 e/nm2, record of nw-01")
        and line.endswith("its session runs")
        for line in lines
    )
    assert (
        f"open series {series}: 2.71e3 e/nm2 not drawn yet, its session runs" in lines
    )
    assert "nw-02" not in out

    code, out, _ = run("dose", "show", "--json")

    content = json.loads(out)
    assert code == 0
    assert [r["specimen"] for r in content["regions"]] == ["nw-01", "nw-02"]
    assert content["regions"][0]["purposes"]["tracking"]["n_exposures"] == 1
    assert content["is_backup_current"]
    uids = [t["ticket"]["uid"] for t in content["open_tickets"]]
    assert still_open.uid in uids
    assert content["open_series"][0]["left"][0]["e_per_nm2"] == pytest.approx(
        3 * still_open.reserved_e_per_nm2
    )


def test_an_unknown_specimen_is_said_with_the_nearest(
    ledger: DoseLedger, run: Run
) -> None:
    reserve(ledger)

    code, _, error = run("dose", "show", "nw-1")

    assert code == 1
    assert "specimen 'nw-1' is not in" in error
    assert error.endswith("did you mean 'nw-01'?")


def test_a_blocked_region_is_shown_until_it_is_acknowledged(
    ledger: DoseLedger, run: Run
) -> None:
    ticket = reserve(ledger)
    settle(ledger, ticket, part=1.2)

    code, out, _ = run("dose", "show", "nw-01")
    assert code == 1
    assert f"BLOCKED: {ticket.uid} was charged more than it had reserved" in out

    assert run("dose", "acknowledge", "nw-01", "region-1", "--reason", " ")[0] == 1
    code, out, _ = run("dose", "acknowledge", "nw-01", "region-1", "--reason", "seen")
    assert code == 0
    assert "nw-01, region-1 is no longer blocked" in out
    assert run("dose", "show", "nw-01")[0] == 0


def test_a_person_settles_a_ticket_and_lowers_a_limit(
    ledger: DoseLedger, run: Run
) -> None:
    ticket = reserve(ledger)

    code, out, _ = run("dose", "settle", ticket.uid, "--reason", "the log is lost")
    assert (code, out.strip()) == (0, "charged 9.05e2 e/nm2")
    assert ledger.unsettled() == []

    code, out, _ = run("dose", "limit", "nw-01", "region-1", "4e6", "--reason", "F")
    assert code == 0
    assert "nw-01, region-1: 4.00e6 e/nm2 at most, 4.00e6 e/nm2 left" in out
    code, _, error = run("dose", "limit", "nw-01", "region-1", "2e7", "--reason", "F")
    assert code == 1
    assert "2e+07 e/nm2 is not above 0 and up to 1.00e7 e/nm2" in error


def test_a_lost_ledger_is_not_begun_anew(
    ledger: DoseLedger, run: Run, config: Path
) -> None:
    settle(ledger, reserve(ledger))
    ledger.close()
    path = load_config(config).dose_ledger
    path.unlink()

    code, _, error = run("dose", "show")

    assert code == 1
    assert "is missing, or older than its backup" in error
    assert not path.exists()


@pytest.mark.parametrize(
    ("settled", "reserved", "expected"),
    [
        (0.0, 0.0, "." * 10),
        (1.0, 0.0, "#" + "." * 9),
        (0.0, 1.0, "+" + "." * 9),
        (5e6, 2e6, "#####++..."),
        (5e6, 5e6, "#####+++++"),
        (1.3e7, 0.0, "#" * 10),
        (1e7, 1.0, "#" * 10),
    ],
)
def test_the_bar_shows_what_is_there(
    settled: float, reserved: float, expected: str
) -> None:
    usage = Usage("nw-01", "region-1", settled, reserved, 0.0, 1e7, 0.0)

    assert bar(usage, width=10).plain == expected


def test_a_map_has_each_region_at_its_place_as_figure_and_as_numbers(
    ledger: DoseLedger, run: Run, tmp_path: Path
) -> None:
    field = {"width_px": 128, "height_px": 128, "pixel_nm": 2.0}
    code, out, _ = run(
        *("dose", "place", "nw-01", "tip", "--reason", "stage"), "--", "600", "-40"
    )
    assert code == 0
    assert "nw-01, tip lies at x = 600 nm, y = -40 nm" in out
    for region, tilt_deg in (("region-1", 0.0), ("region-1", 60.0), ("tip", 0.0)):
        ticket = reserve(ledger, region=region, tilt_deg=tilt_deg, **field)
        settle(ledger, ticket)
    each = ledger.usage("nw-01", "tip").settled_e_per_nm2
    figure, arrays = tmp_path / "map.png", tmp_path / "map.npz"

    code, out, _ = run(
        *("dose", "map", "nw-01", "--out", str(figure), "--npz", str(arrays))
    )

    assert code == 0
    assert f"wrote {figure}" in out
    assert figure.read_bytes()[:4] == b"\x89PNG"
    with np.load(arrays) as found:
        cells, x_nm, y_nm = (
            found[key] for key in ("settled_e_per_nm2", "x_nm", "y_nm")
        )

    def at(x: float, y: float) -> float:
        return float(cells[abs(y_nm - y).argmin(), abs(x_nm - x).argmin()])

    assert at(0, 0) == pytest.approx(2 * each, rel=1e-3)
    assert at(-200, 0) == pytest.approx(each, rel=1e-3)  # stretched by 1 / cos 60 deg
    assert at(600, -40) == pytest.approx(each, rel=1e-3)
    assert at(350, 0) == 0.0
    code, out, _ = run("dose", "map", "nw-01", "--region", "tip", "--json")
    content = json.loads(out)
    assert content["regions"]["tip"] == {
        "x_nm": 600.0,
        "y_nm": -40.0,
        "width_nm": 256.0,
        "height_nm": 256.0,
        "rotation_deg": 0.0,
    }
    assert min(content["x_nm"]) > 400
    assert run("dose", "map", "nw-02")[0] == 1


def test_a_region_that_has_its_dose_is_moved_no_more(
    ledger: DoseLedger, run: Run
) -> None:
    settle(ledger, reserve(ledger))

    code, _, error = run(
        *("dose", "place", "nw-01", "region-1", "50", "0", "--reason", "stage")
    )

    assert code == 1
    assert "what it has received lies there for good" in error


def test_reconcile_and_blank_need_an_ioc_that_answers(
    ledger: DoseLedger, run: Run
) -> None:
    code, _, error = run("dose", "reconcile")
    assert code == 1
    assert "beam (NOWHERE:BEAM1:): no IOC answers" in error

    code, _, error = run("blank")
    assert code == 1
    assert "NOWHERE:BEAM1:Blank: no IOC answers within 2 s. THE BEAM MAY BE ON" in error
    assert "close the column valve at the instrument itself" in error


def test_blank_is_not_drowned_by_complaints_about_a_repeater() -> None:
    """It uses the same Channel Access library as a session."""
    code = (
        "from cryoline.acquisition import errors, panic\n"
        "try: panic.blank_beam('NOWHERE:', timeout_s=0.1)\n"
        "except errors.ConnectionFailed: pass\n"
        "import epics; print(epics.ca.libca._name)"
    )
    # This process has imported ophyd, which tells its children what to use.
    own = {k: v for k, v in os.environ.items() if k != "PYEPICS_LIBCA"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=own,
        capture_output=True,
        text=True,
        check=True,
    )

    assert "epicscorelibs" in done.stdout
    assert done.stderr == ""


def test_without_a_beam_there_is_nothing_to_blank(run: Run, config: Path) -> None:
    config.write_text(CONFIG.replace("devices.beam", "devices.electrons"))

    for command in (("blank",), ("dose", "reconcile")):
        code, _, error = run(*command)
        assert code == 1
        assert "has no device 'beam', whose exposures would be counted" in error


def test_doctor_says_what_the_ledger_waits_for(ledger: DoseLedger, run: Run) -> None:
    def finding() -> dict[str, Any]:
        findings = json.loads(run("doctor", "--json")[1])
        (found,) = [f for f in findings if f["what"] == "dose ledger"]
        return dict(found)

    assert finding()["is_well"]
    ticket = reserve(ledger)
    settle(ledger, ticket, part=1.2)
    assert finding()["found"] == "nw-01, region-1 is blocked"
    assert finding()["remedy"] == "cryoline dose show"
    ledger.acknowledge("nw-01", "region-1", reason="seen")
    assert finding()["is_well"]


# check


def check(run: Run, *arguments: str) -> tuple[int, str, str]:
    return run("check", "tilt-series", "--specimen", "nw-01", *arguments)


def test_check_says_what_a_series_would_cost_and_books_nothing(
    ledger: DoseLedger, run: Run
) -> None:
    code, out, _ = check(run, "--current-pa", "150", "--json")

    assert code == 0
    content = json.loads(out)
    (region,) = content["regions"]
    # 25 maps of 22 frames and 4 tracking images of 1.05 s a tilt, at 165 pA.
    maps = 25 * 165e-12 * (114.0 + 4 * 1.048576) / 1.602176634e-19
    assert region["asked_e_per_nm2"] == pytest.approx(
        maps / (512 * 2.134) ** 2, rel=1e-4
    )
    assert content["beam_on_s"] == pytest.approx(25 * (114.0 + 4 * 1.048576), rel=1e-4)
    assert content["duration_s"] > content["beam_on_s"] + 25 * 60
    assert content["disk"]["needed_bytes"] > 125 * 512 * 512 * 4
    assert content["fits"]
    assert ledger.specimens() == []


def test_check_refuses_200_pa_on_the_smallest_field_of_he_et_al(
    ledger: DoseLedger, run: Run
) -> None:
    code, out, _ = check(run, "--pixel-nm", "1.068", "--current-pa", "200")

    assert code == 1
    assert "too much" in out
    assert "dose: specimen nw-01, region-1: the series may cost 1.36e7 e/nm2" in out
    assert "lower the measured current to 147 pA or less" in out
    assert check(run, "--pixel-nm", "1.068", "--current-pa", "147")[0] == 0
    code, out, _ = check(run, "--current-pa", "147", "--budget-e-per-nm2", "1e6")
    assert code == 1
    assert "its budget is 1.00e6 e/nm2" in out


def test_check_turns_a_total_into_frames_by_tilt(ledger: DoseLedger, run: Run) -> None:
    options = ("--current-pa", "150", "--total-e-per-nm2", "4e6")
    code, out, _ = check(run, *options, "--factor-at-60deg", "2", "--json")

    assert code == 0
    series = json.loads(out)["series"]
    frames = dict(zip(series["angles_deg"], series["frames"], strict=True))
    assert frames[0] < frames[45] < frames[60]
    assert frames[60] / frames[0] == pytest.approx(2.0, rel=0.05)
    assert 3.99e6 < series["total_e_per_nm2"] <= 4e6
    spent = sum(series["maps_e_per_nm2"]) + series["tracking_e_per_nm2"]
    assert spent == pytest.approx(series["total_e_per_nm2"])
    code, out, _ = check(run, *options)
    assert code == 0
    assert "25 maps of 964 frames: 39 at 0 deg, 1.58e5 e/nm2; " in out
    assert "as measured, mean over the map: 4.00e6 e/nm2, 8.22e4 e/nm2 of it for" in out


def test_check_names_the_worst_cell_and_the_neighbours_that_are_hit(
    ledger: DoseLedger, run: Run
) -> None:
    """A map of 1093 nm reaches to 1093 nm at 60 deg: into a neighbour's field."""
    ledger.place_region("nw-01", "tip", x_nm=1200.0, y_nm=0.0, reason="stage")
    ledger.place_region("nw-01", "far", x_nm=9000.0, y_nm=0.0, reason="stage")
    for region in ("tip", "far"):
        settle(ledger, reserve(ledger, region=region))

    code, out, _ = check(run, "--current-pa", "150", "--json")

    assert code == 0
    content = json.loads(out)
    (hit,) = content["neighbours"]
    assert hit["region"] == "tip"
    # Its edge at 654 nm lies in the fields of 33.3 deg and more: 12 of 25 tilts.
    asked = content["regions"][0]["asked_e_per_nm2"]
    assert hit["most_e_per_nm2"] == pytest.approx(12 / 25 * asked, rel=1e-3)
    (region,) = content["regions"]
    assert region["worst_e_per_nm2"] == pytest.approx(asked, rel=0.01)
    assert abs(region["place_nm"][0]) < 547
    _, out, _ = check(run, "--current-pa", "150")
    assert "hits tip as well: up to 1.22e6 e/nm2 there" in out
    assert "far" not in out


def test_check_shows_how_far_an_area_to_track_by_lies_from_the_map(
    ledger: DoseLedger, run: Run
) -> None:
    small = ("--width-px", "256", "--height-px", "256", "--pixel-nm", "1.068")
    area = ("--tracking-width-px", "128", "--tracking-height-px", "128")
    options = (*small, *area, "--current-pa", "50", "--frames", "8")
    code, out, _ = check(run, *options, "--tracking-offset-nm", "400")

    assert code == 0
    assert "400 nm along the tilt axis, 340 nm needed; edges 167 nm apart: clear" in out
    assert "0 e/nm2 of it for tracking" in out
    code, _, error = check(run, *options, "--tracking-offset-nm", "300")
    assert code == 1
    assert "300 nm along the tilt axis is too near to the region: 340" in error
    more = ("--tracking-offset-nm", "300", "--accept-overlap")
    code, out, _ = check(run, *options, *more)
    assert "edges 67 nm apart: overlap accepted" in out


def test_check_compares_the_time_it_takes_with_the_nitrogen_that_is_left(
    ledger: DoseLedger, run: Run, config: Path
) -> None:
    assert "not judged; set cold.ln2_lasts_s" in check(run, "--current-pa", "150")[1]
    config.write_text(CONFIG + "[cold]\nln2_lasts_s = 30000\n")
    code, out, _ = check(run, "--current-pa", "150", "--json")
    assert code == 0
    content = json.loads(out)
    used = 100 * content["duration_s"] / 30000
    assert content["cold"]["at_end_percent"] == pytest.approx(100 - used)
    low = ("--ln2-percent", f"{used + 9.9:g}")  # 10 % are to be left

    code, out, _ = check(run, "--current-pa", "150", *low)

    assert code == 1
    assert "% at the end, 10 % to be left; too little: fill the dewar" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--first-end-deg", "65", "--current-pa", "150"), "65 deg is outside -60..60"),
        (("--current-pa", "0"), "0 pA is no probe current"),
        (("--current-pa", "nan"), "nan pA is no probe current"),
        (("--current-pa", "150", "--budget-e-per-nm2", "0"), "allows nothing"),
        (("--current-pa", "150", "--pixel-nm", "0"), "Scan: pixel_nm = 0"),
        ((), "no IOC answers"),
    ],
)
def test_check_says_what_is_wrong(
    run: Run, arguments: tuple[str, ...], message: str
) -> None:
    code, _, error = check(run, *arguments)

    assert code == 1
    assert message in error
    if not arguments:
        assert error.endswith("or give --current-pa")


def test_check_asks_for_a_current_that_nobody_has_measured(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = ProbeCurrent(current_pa=0.0, age_s=1e9, current_max_pa=500.0)
    beam = SimpleNamespace(probe_current=lambda: never)
    monkeypatch.setattr(connection, "connect_devices", lambda _: {"beam": beam})

    code, _, error = check(run)

    assert code == 1
    assert "beam: its current was not measured since the instrument was" in error
    assert "beam.measure_current()" in error
    assert "give --current-pa" in error


def test_check_refuses_what_the_disk_can_not_hold(
    ledger: DoseLedger, run: Run, config: Path
) -> None:
    config.write_text(CONFIG.replace("minimum_free_mb = 1", "minimum_free_mb = 1e12"))

    code, out, _ = check(run, "--current-pa", "150")

    assert code == 1
    assert "too little" in out


# sample


def journal(
    config: Path, key: str, specimen: str, *, ancestors: tuple[str, ...] = ()
) -> Path:
    path = load_config(config).layout.raw_journal / f"{key}.jsonl"
    start = {
        "uid": key,
        "time": 1e9 + len(key),
        "specimen": specimen,
        "ancestors": list(ancestors),
        "technique": "tilt-eds",
        "scan_id": 1,
    }
    stop = {"uid": key + "-stop", "run_start": key, "exit_status": "success"}
    path.write_bytes(encode_line("start", start) + encode_line("stop", stop))
    return path


def test_sample_show_tells_the_whole_story(
    ledger: DoseLedger, run: Run, config: Path
) -> None:
    journal(config, "a", "wafer-01")
    journal(config, "bb", "nw-01", ancestors=("cell-01", "wafer-01"))
    journal(config, "cc", "somebody-else")
    open_run = journal(config, "ddd", "nw-01")
    # Without its last line, and in the middle of it.
    for cut in (None, -20):
        content = open_run.read_bytes()
        first_only = content[: content.index(b"\n") + 1]
        open_run.write_bytes(first_only if cut is None else content[:cut])
        runs = json.loads(run("sample", "show", "nw-01", "--json")[1])["runs"]
        assert [r["exit_status"] for r in runs] == ["success", "success", "open"]
        journal(config, "ddd", "nw-01")
    settle(ledger, reserve(ledger))
    with CustodyRecord(load_config(config).custody_record) as record:
        record.register("nw-01", parent="wafer-01")
        record.flag("wafer-01", "temperature", "-120 degC", occurred_s=0)

    code, out, _ = run("sample", "show", "nw-01")

    assert code == 0
    assert out.splitlines()[0] == "nw-01 <- cell-01 <- wafer-01"
    assert "flagged for life: temperature" in out
    assert "8.14e2" in out
    assert "somebody-else" not in out
    content = json.loads(run("sample", "show", "nw-01", "--json")[1])
    assert [r["key"] for r in content["runs"]] == ["a", "bb", "ddd"]
    assert content["custody"]["flags"] == ["temperature"]
    assert content["dose"]["regions"][0]["specimen"] == "nw-01"


def test_sample_show_of_nobody_is_a_mistake(
    ledger: DoseLedger, run: Run, config: Path
) -> None:
    journal(config, "a", "wafer-01")

    code, _, error = run("sample", "show", "wafer-1")

    assert code == 1
    assert "specimen 'wafer-1': no run, dose or custody of it" in error
    assert error.endswith("did you mean 'wafer-01'?")


def test_a_specimen_is_sent_and_unlocked_at_the_command_line(
    ledger: DoseLedger, run: Run, tmp_path: Path
) -> None:
    settle(ledger, reserve(ledger))
    out = str(tmp_path / "nw-01.json")

    code, said, _ = run("sample", "export", "nw-01", "--out", out, "--to", "Lyon")
    assert code == 0
    assert said.startswith(f"{out}: 4 rows of dose, 0 of custody; sha256 ")
    code, said, _ = run("sample", "show", "nw-01")
    assert "LOCKED: nw-01 was sent to Lyon on " in said
    code, said, _ = run("sample", "import", out)
    assert code == 0
    assert "holds nothing that is not known here; nothing changed" in said
    assert "nw-01 stays locked: it was sent to Lyon on " in said
    code, _, error = run("sample", "export", "nw-01", "--out", out + "2")
    assert code == 1
    assert "can't be sent twice" in error
    code, said, _ = run("sample", "unlock", "nw-01", "--reason", "it never left")
    assert code == 0
    assert "nw-01 is unlocked; it was sent to Lyon on " in said
    reserve(ledger)


def test_a_lost_ledger_is_restored_at_the_command_line(
    ledger: DoseLedger, run: Run, config: Path
) -> None:
    settle(ledger, reserve(ledger))
    ledger.close()
    loaded = load_config(config)
    for path in loaded.dose_ledger.parent.glob("dose.sqlite*"):
        path.unlink()
    code, _, error = run("dose", "show")
    assert code == 1
    assert f"then: cryoline dose restore --from {loaded.dose_backup}" in error

    code, said, _ = run("dose", "restore", "--from", str(loaded.dose_backup))

    assert code == 0
    assert f"{loaded.dose_ledger}: restored, 2 rows" in said
    assert run("dose", "show")[0] == 0


@pytest.mark.parametrize(
    "command",
    [
        "blank",
        "check tilt-series",
        "dose show",
        "dose reconcile",
        "dose acknowledge",
        "dose settle",
        "dose limit",
        "dose map",
        "dose place",
        "dose restore",
        "sample show",
        "sample export",
        "sample import",
        "sample unlock",
        "sample restore",
    ],
)
def test_every_command_has_help_with_an_example(run: Run, command: str) -> None:
    code, out, _ = run(*command.split(), "--help")

    assert code == 0
    assert f"Example: cryoline {command}" in " ".join(out.split())
