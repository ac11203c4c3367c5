"""The laboratory through Channel Access, as a generic client sees it."""

import subprocess

import numpy as np
import pytest

from cryoline.sim.prefixes import GROUPS

pytestmark = pytest.mark.lab

_DETECTOR = (
    *("Slot", "AcquireCounter_RBV", "LastSlot_RBV", "Frames_RBV", "LiveTime_RBV"),
    *("Heartbeat_RBV", "InstrumentTime_RBV"),
)
_DETECTOR_TEXTS = (
    *("FilePath", "FileName", "FullFileName_RBV", "Capture", "Capture_RBV", "Expect"),
    *("Acquire", "Cancel", "State_RBV", "LastTicket_RBV", "BootId_RBV", "Message_RBV"),
)
NUMBERS = {
    "SIM:POT1:": (
        *("Potential_RBV", "Current_RBV", "Charge_RBV", "Range_RBV", "Cycle_RBV"),
        *("HalfCycle_RBV", "Step_RBV", "PotentialMin_RBV", "PotentialMax_RBV"),
        *("CurrentMax_RBV", "ScanRateMax_RBV", "Progress_RBV", "Remaining_RBV"),
        *("PointCount_RBV", "PointRequest", "Heartbeat_RBV", "InstrumentTime_RBV"),
    ),
    "SIM:GB1:": (
        *("Temperature_RBV", "Pressure_RBV", "H2O_RBV", "O2_RBV", "Heartbeat_RBV"),
        "InstrumentTime_RBV",
    ),
    "SIM:OP1:": ("ConfirmAfter", "Heartbeat_RBV", "InstrumentTime_RBV"),
    "SIM:CLK:": ("InstrumentTime_RBV", "WakeAt", "Factor_RBV", "Heartbeat_RBV"),
    "SIM:STAGE1:": (
        *("Alpha", "X", "Y", "Z", "Alpha_RBV", "X_RBV", "Y_RBV", "Z_RBV"),
        *("Temp_RBV", "LN2_RBV", "TempSet", "Heartbeat_RBV", "InstrumentTime_RBV"),
    ),
    "SIM:BEAM1:": (
        *("Energy_RBV", "Current_RBV", "CurrentAge_RBV", "CurrentMax_RBV"),
        *("ExposureCounter_RBV", "LastCharge_RBV", "LastTime_RBV", "LastFrames_RBV"),
        *("LogRequest", "LogFirst_RBV", "SessionBeat", "BeatAge_RBV"),
        *("Heartbeat_RBV", "InstrumentTime_RBV"),
    ),
    "SIM:HAADF1:": (*_DETECTOR, "ArrayMean_RBV", "Width_RBV", "Height_RBV"),
    "SIM:EDS1:": (
        *(*_DETECTOR, "FirstEvent_RBV", "LastEvent_RBV", "FirstFrame_RBV"),
        *("FrameCount_RBV", "Counts_RBV", "DeadTime_RBV"),
    ),
    "SIM:CARRIER1:": (
        *("Temp_RBV", "TempMax_RBV", "Air_RBV", "Heartbeat_RBV", "InstrumentTime_RBV"),
    ),
    "SIM:LN2POT1:": ("Temp_RBV", "LN2_RBV", "Heartbeat_RBV", "InstrumentTime_RBV"),
    "SIM:HOLD1:": ("Temp_RBV", "LN2_RBV", "Heartbeat_RBV", "InstrumentTime_RBV"),
    "SIM:CASE1:": (
        *("Pressure_RBV", "PressureMax_RBV", "PortPressure_RBV", "Temp_RBV"),
        *("LN2_RBV", "Battery_RBV", "Heartbeat_RBV", "InstrumentTime_RBV"),
    ),
    "SIM:FIB1:": (
        *("Pressure_RBV", "StageTemp_RBV", "StageSet", "Heartbeat_RBV"),
        "InstrumentTime_RBV",
    ),
    "SIM:LAB:": (
        *("Factor", "Advance", "Reset", "CurrentRise", "CurrentScale", "LN2Level"),
        *("StageTemp", "DriftBurst", "SuitcaseLeak", "AirTransit"),
    ),
    "SIM:TRUTH:": (
        *("Charge_RBV", "Lithiation_RBV", "Delithiation_RBV", "Capacity_RBV"),
        *("SiliconLithium_RBV", "BeamCharge_RBV", "FluenceMax_RBV"),
        *("ShiftX_RBV", "ShiftY_RBV"),
        *("Contamination_RBV", "Frost_RBV"),
    ),
}
OTHERS = {
    "SIM:POT1:": (
        *("Program", "ProgramUid_RBV", "Message_RBV", "Start", "Stop", "State_RBV"),
        *("Overload_RBV", "Contact_RBV", "Points_RBV", "PointColumns_RBV"),
        "BootId_RBV",
    ),
    "SIM:GB1:": ("Atmosphere_RBV", "Door", "BootId_RBV", "Message_RBV"),
    "SIM:OP1:": (
        *("Prompt", "Answer", "State_RBV", "AutoConfirm", "BootId_RBV"),
        "Message_RBV",
    ),
    "SIM:CLK:": ("Epoch_RBV", "Mode_RBV", "BootId_RBV", "Message_RBV"),
    "SIM:STAGE1:": (
        *("AlphaDone_RBV", "XDone_RBV", "YDone_RBV", "ZDone_RBV", "AlphaStop"),
        *("XStop", "YStop", "ZStop", "BootId_RBV", "Message_RBV"),
    ),
    "SIM:BEAM1:": (
        *("MeasureCurrent", "Arm", "Start", "Blank", "Disarm", "State_RBV"),
        *("Blanked_RBV", "ArmedTicket_RBV", "LastTicket_RBV", "LastOutcome_RBV"),
        *("Log_RBV", "Lease", "LeaseHolder_RBV", "Interlock_RBV"),
        *("InterlockReason_RBV", "BootId_RBV", "Message_RBV"),
    ),
    "SIM:HAADF1:": _DETECTOR_TEXTS,
    "SIM:EDS1:": _DETECTOR_TEXTS,
    "SIM:CARRIER1:": (
        *("Specimen", "MoveTo", "Place_RBV", "Moving_RBV", "ResetMax", "State_RBV"),
        *("BootId_RBV", "Message_RBV"),
    ),
    "SIM:LN2POT1:": ("Boiling_RBV", "Fill", "BootId_RBV", "Message_RBV"),
    "SIM:HOLD1:": ("BootId_RBV", "Message_RBV"),
    "SIM:CASE1:": (
        *("Dock", "GateValve", "Pump", "PortPump", "PortVent", "Refill", "ResetMax"),
        *("BootId_RBV", "Message_RBV"),
    ),
    "SIM:FIB1:": ("GateValve", "BootId_RBV", "Message_RBV"),
    "SIM:LAB:": (
        *("Mode", "Step", "Cell", "Message_RBV", "StageStuck", "DiskFull"),
        *("StaleFrame", "CaseLN2"),
    ),
    "SIM:TRUTH:": ("Save", "Devitrified_RBV", "Message_RBV"),
}


def names(table: dict[str, tuple[str, ...]]) -> list[str]:
    return [prefix + name for prefix, found in table.items() for name in found]


def test_every_number_has_units_limits_and_a_description(ca) -> None:
    ca.connect([n + end for n in names(NUMBERS) for end in ("", ".DESC")])
    for name in names(NUMBERS):
        pv = ca.pv(name)
        pv.get_ctrlvars()
        assert pv.units, f"{name} has no unit"
        assert pv.lower_disp_limit < pv.upper_disp_limit, f"{name} has no limits"
        assert ca.text(f"{name}.DESC"), f"{name} has no description"


def test_every_other_variable_is_served_and_described(ca) -> None:
    ca.connect([n + end for n in names(OTHERS) for end in ("", ".DESC")])
    for name in names(OTHERS):
        assert ca.text(f"{name}.DESC"), f"{name} has no description"


def test_readings_can_not_be_written(ca) -> None:
    before_v = ca.get("SIM:POT1:PotentialMax_RBV")
    ca.pv("SIM:POT1:PotentialMax_RBV").put(1.0, wait=True, timeout=2.0)
    assert ca.get("SIM:POT1:PotentialMax_RBV") == before_v == 10.0


@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        (
            "SIM:LAB:Factor",
            2e6,
            "SIM:LAB:Factor: 2e+06 is outside 0.1..1e+06; choose a value in between",
        ),
        (
            "SIM:OP1:ConfirmAfter",
            -1.0,
            "SIM:OP1:ConfirmAfter: -1 s is outside 0..86400 s; "
            "choose a value in between",
        ),
    ],
)
def test_value_beyond_its_limits_is_refused_and_not_clamped(
    ca, setting, value, words
) -> None:
    message = setting.rpartition(":")[0] + ":Message_RBV"
    before = ca.get(setting)
    ca.put(setting, value)
    assert ca.get(setting) == before
    assert ca.text(message) == words
    assert ca.severity(message) == 1
    ca.put(setting, before)
    assert ca.text(message) == ""
    assert ca.severity(message) == 0


def test_refused_program_tells_why_before_the_put_returns(ca, voltammetry) -> None:
    ca.put("SIM:POT1:Program", voltammetry(uid="good"))
    assert ca.text("SIM:POT1:State_RBV") == "loaded"
    ca.put("SIM:POT1:Program", voltammetry(uid="bad", rate_mv_per_s=0))
    assert ca.text("SIM:POT1:Message_RBV") == (
        "potentiostat: step 0 (voltage_scan): rate_mv_per_s 0 mV/s would never end; "
        "choose 1e-06..1000 mV/s"
    )
    assert ca.text("SIM:POT1:ProgramUid_RBV") == "good"


def test_start_without_a_program_is_refused(ca) -> None:
    ca.put("SIM:POT1:Start", 1)
    assert ca.text("SIM:POT1:Message_RBV").startswith(
        "potentiostat: no program is loaded (state idle)"
    )


def test_program_runs_stops_and_is_forgotten_at_a_reset(ca, voltammetry) -> None:
    ca.put("SIM:POT1:Program", voltammetry())
    ca.put("SIM:POT1:Start", 1)
    assert ca.text("SIM:POT1:State_RBV") == "running"
    assert ca.get("SIM:POT1:Remaining_RBV") == pytest.approx(28_900, abs=20)
    ca.put("SIM:POT1:Stop", 1)
    assert ca.text("SIM:POT1:State_RBV") == "stopped"
    ca.put("SIM:LAB:Reset", 2)
    ca.until(lambda: ca.text("SIM:POT1:State_RBV") == "idle", "idle after a reset")
    assert ca.get("SIM:POT1:PointCount_RBV") == 0
    assert ca.get("SIM:LAB:Reset") == 2


def collect_stepped(ca, program: str, seed: int) -> np.ndarray:
    """Run a program in stepped mode from a reset; returns all its points."""
    ca.put("SIM:LAB:Mode", 1)
    ca.put("SIM:LAB:Reset", seed)
    ca.put("SIM:POT1:Program", program)
    ca.put("SIM:POT1:Start", 1)
    pages, count, running = [], 0, True
    while running:
        ca.put("SIM:LAB:Step", 1)
        assert ca.text("SIM:LAB:Message_RBV") == ""
        page = ca.points(count)
        pages.append(page)
        count += len(page)
        running = ca.text("SIM:POT1:State_RBV") == "running"
    return np.concatenate(pages)


def test_stepped_runs_are_bit_identical_and_equal_to_a_free_one(
    ca, voltammetry
) -> None:
    program = voltammetry()
    first = collect_stepped(ca, program, seed=4)
    second = collect_stepped(ca, program, seed=4)
    other = collect_stepped(ca, program, seed=5)
    # Resets do not turn back the clock, so the same run is later by a constant.
    np.testing.assert_array_equal(first[:, 2:], second[:, 2:])
    assert (first[:, 3] != other[:, 3]).any()
    assert len(first) == 2790 + 2990

    ca.put("SIM:LAB:Reset", 4)
    ca.put("SIM:LAB:Factor", 1e5)
    ca.put("SIM:LAB:Mode", 0)
    ca.put("SIM:POT1:Program", program)
    ca.put("SIM:POT1:Start", 1)
    ca.until(lambda: ca.text("SIM:POT1:State_RBV") == "finished", "the end")
    free = np.concatenate([ca.points(0), ca.points(5000)])
    np.testing.assert_array_equal(free[:, 2:], first[:, 2:])
    for column in (first[:, 1], free[:, 1]):
        assert column[-1] - column[0] == pytest.approx(28_895.0, abs=1e-6)


def test_step_without_an_event_is_refused(ca) -> None:
    ca.put("SIM:LAB:Mode", 1)
    ca.put("SIM:LAB:Step", 1)
    assert ca.text("SIM:LAB:Message_RBV").startswith(
        "laboratory: Step has nothing to wait for"
    )


def test_advance_lets_exactly_that_much_time_pass(ca) -> None:
    ca.put("SIM:LAB:Mode", 1)
    before_s = ca.get("SIM:CLK:InstrumentTime_RBV")
    ca.put("SIM:LAB:Advance", 250.0)
    assert ca.get("SIM:CLK:InstrumentTime_RBV") == pytest.approx(before_s + 250.0)
    ca.put("SIM:LAB:Mode", 0)
    ca.put("SIM:LAB:Advance", 250.0)
    assert "set Mode to stepped first" in ca.text("SIM:LAB:Message_RBV")


def test_simulated_person_confirms_in_instrument_time(ca) -> None:
    ca.put("SIM:LAB:Mode", 1)
    ca.put("SIM:OP1:Prompt", "Open the valve")
    assert ca.text("SIM:OP1:State_RBV") == "waiting"
    ca.put("SIM:LAB:Advance", 29.0)
    assert ca.text("SIM:OP1:State_RBV") == "waiting"
    ca.put("SIM:LAB:Advance", 1.0)
    ca.until(lambda: ca.text("SIM:OP1:State_RBV") == "confirmed", "confirmation")
    assert ca.text("SIM:OP1:Answer") == "confirmed"


def test_door_raises_the_moisture_alarm(ca) -> None:
    ca.put("SIM:LAB:Mode", 1)
    assert ca.severity("SIM:GB1:H2O_RBV") == 0
    ca.put("SIM:GB1:Door", 1)
    assert ca.get("SIM:GB1:H2O_RBV") > 5.0
    assert ca.severity("SIM:GB1:H2O_RBV") == 1


def test_other_cell_has_its_own_capacity(ca) -> None:
    wafer_mah = ca.get("SIM:TRUTH:Capacity_RBV")
    ca.put("SIM:LAB:Cell", 1)
    ca.until(
        lambda: ca.get("SIM:TRUTH:Capacity_RBV") == pytest.approx(0.7636, rel=1e-3),
        "the nanowire's capacity",
    )
    assert wafer_mah == pytest.approx(0.1179, rel=1e-3)
    ca.put("SIM:LAB:Cell", 2)
    assert "--recorded FILE" in ca.text("SIM:LAB:Message_RBV")
    assert ca.text("SIM:LAB:Cell") == "nanowire"


def test_heart_beats_in_wall_time(ca) -> None:
    hearts = [
        prefix + "Heartbeat_RBV"
        for prefix, found in NUMBERS.items()
        if "Heartbeat_RBV" in found
    ]
    assert len(hearts) == 13
    before = {heart: ca.get(heart) for heart in hearts}
    for heart in hearts:
        ca.until(lambda h=heart: ca.get(h) > before[h], "a heartbeat")


def test_only_loopback_is_served(own_lab) -> None:
    table = subprocess.run(
        ["ss", "-Hanptu"], capture_output=True, text=True, check=True
    ).stdout
    pids = [own_lab.pid(name) for name in own_lab.description["processes"]]
    ours = [
        line.split()[4]
        for line in table.splitlines()
        if any(f"pid={pid}," in line for pid in pids)
    ]
    assert len(ours) >= 2 * len(GROUPS)  # TCP and UDP of each server
    assert all(address.startswith("127.0.0.1:") for address in ours), ours


def test_a_refusal_right_after_a_reset_is_not_wiped_away(ca) -> None:
    """A server that learned of the reset late forgot what it had just refused."""
    for seed in range(1, 21):
        ca.put("SIM:LAB:Reset", seed)
        ca.put("SIM:POT1:Start", 1)
        assert ca.text("SIM:POT1:Message_RBV").startswith("potentiostat: no program")
        ca.put("SIM:OP1:ConfirmAfter", -1.0)
        assert "outside 0..86400 s" in ca.text("SIM:OP1:Message_RBV")
