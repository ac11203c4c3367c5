"""The column as hardware: its timer and charge limit, however often one asks."""

import json
import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryoline.sim.column import Column, ColumnState
from cryoline.sim.errors import RefusedError
from cryoline.sim.exposure_log import ExposureLog, Outcome
from cryoline.sim.probe import ProbeCurrent
from cryoline.sim.scan_order import read_order

HE_ET_AL = {
    "width_px": 512,
    "height_px": 512,
    "pixel_nm": 2.134,
    "dwell_s": 19.767e-6,
    "n_frames": 22,
    "flyback_s": 1e-4,
    "flyback_blanked": True,
    "center_x_nm": 0.0,
    "center_y_nm": 0.0,
    "max_time_s": 200.0,
    "max_charge_c": 1.0,
}
START_S = 1000.0


def order(ticket: str = "t", **changes) -> str:
    return json.dumps({**HE_ET_AL, "ticket": ticket, **changes})


def exposing(*, seed: int = 3, rise: float = 0.0, **changes) -> Any:
    column: Any = Column(seed=seed, log=ExposureLog())
    column.set_next_rise(rise)
    column.arm(order(**changes))
    column.start(START_S)
    return column


def expose(*polls_s: float, **changes) -> tuple[Any, list[np.ndarray], Any]:
    """Expose, looking at these times after the start, and once long after the end."""
    column = exposing(**changes)
    charges = []
    for time_s in (*sorted(polls_s), 500.0):
        column.advance(START_S + time_s)
        charges.append(column.take_frames().charge_c)
    assert column.last is not None
    return column.last, charges, column


def test_complete_exposure_lasts_as_long_as_its_pixels() -> None:
    record, charges, column = expose()
    assert record.outcome is Outcome.COMPLETE
    assert record.beam_on_s == pytest.approx(114.0, abs=1e-3)
    assert record.end_s - record.start_s == pytest.approx(
        record.beam_on_s + 22 * 512 * 1e-4
    )
    assert record.frames == len(charges[0]) == 22
    assert record.charge_c == math.fsum(charges[0])
    # The drift of the current stays within a few per cent of 150 pA.
    assert record.charge_c == pytest.approx(150e-12 * 114.0, rel=0.04)
    assert column.state is ColumnState.BLANKED
    assert column.charge_c(2e6) == record.charge_c


def test_flyback_that_is_not_blanked_costs_charge() -> None:
    blanked, _, _ = expose()
    open_beam, _, _ = expose(flyback_blanked=False)
    assert open_beam.beam_on_s == pytest.approx(open_beam.end_s - open_beam.start_s)
    extra = open_beam.beam_on_s / blanked.beam_on_s
    assert open_beam.charge_c == pytest.approx(blanked.charge_c * extra, rel=1e-12)


POLLS = st.lists(st.floats(0.0, 130.0), max_size=30)
LIMITS = st.fixed_dictionaries(
    {
        "max_time_s": st.floats(1.0, 200.0),
        "max_charge_c": st.floats(1e-10, 4e-8),
        "flyback_blanked": st.booleans(),
        "rise": st.sampled_from([0.0, 1.3, 0.5]),
    }
)


@settings(max_examples=60, deadline=None)
@given(polls_s=POLLS, limits=LIMITS)
def test_who_asks_how_often_changes_nothing(polls_s, limits) -> None:
    alone, all_at_once, _ = expose(**limits)
    watched, in_parts, column = expose(*polls_s, **limits)
    assert watched == alone  # to the last bit: end, charge, frames, outcome
    np.testing.assert_array_equal(np.concatenate(in_parts), all_at_once[-1])
    assert math.fsum(all_at_once[-1]) == pytest.approx(alone.charge_c, rel=1e-12)
    assert column.last.charge_c <= limits["max_charge_c"] * (1 + 1e-12)
    assert column.last.beam_on_s <= limits["max_time_s"] * (1 + 1e-9)


def test_maximum_charge_ends_it_in_a_frame_with_not_more_than_that() -> None:
    record, charges, _ = expose(max_charge_c=1e-8)
    assert record.outcome is Outcome.MAX_CHARGE
    assert 0 <= 1e-8 - record.charge_c < 1e-20
    assert record.frames == len(charges[0]) - 1 < 22
    current_a = record.charge_c / record.beam_on_s
    assert current_a == pytest.approx(150e-12, rel=0.04)


def test_maximum_time_is_time_of_beam_on() -> None:
    record, _, _ = expose(max_time_s=60.0)
    assert record.outcome is Outcome.MAX_TIME
    assert record.beam_on_s == pytest.approx(60.0, rel=1e-12)
    assert record.end_s - record.start_s > 60.0  # flyback took its time


def test_limits_that_the_exposure_just_reaches_do_not_cut_it() -> None:
    beam_on_s = 22 * 512 * 512 * 19.767e-6
    record, _, _ = expose(max_time_s=beam_on_s)
    assert record.outcome is Outcome.COMPLETE
    again, _, _ = expose(max_time_s=beam_on_s, max_charge_c=record.charge_c)
    assert again.outcome is Outcome.COMPLETE


def test_current_that_rises_half_way_is_stopped_at_the_charge() -> None:
    calm, _, _ = expose()
    limit_c = 1.1 * calm.charge_c
    record, _, column = expose(rise=1.3, max_charge_c=limit_c)
    assert record.outcome is Outcome.MAX_CHARGE
    assert record.charge_c == pytest.approx(limit_c, rel=1e-12)
    half_s = (calm.end_s - calm.start_s) / 2
    # 50 % at 1, then 60 % of charge at 1.3 times the current.
    assert record.end_s - record.start_s == pytest.approx(
        half_s * (1 + 0.6 / 0.65), rel=1e-2
    )
    assert column.rise_is_over
    column.arm(order("later"))
    column.start(2000.0)
    column.advance(3000.0)
    assert column.last.charge_c == pytest.approx(calm.charge_c, rel=0.04)


def test_blanking_cuts_at_once_and_counts_what_fell() -> None:
    column = exposing()
    column.advance(START_S + 50.0)
    column.blank(START_S + 50.0)
    record = column.last
    assert record.outcome is Outcome.CUT
    assert record.end_s == START_S + 50.0
    assert record.frames == 9  # a frame takes 5.233 s
    frames = column.take_frames()
    assert frames.fraction[:-1].tolist() == [1.0] * 9
    assert frames.fraction[-1] == pytest.approx(50.0 / 5.2331 - 9, abs=1e-3)
    assert math.fsum(frames.charge_c) == pytest.approx(record.charge_c, rel=1e-12)
    column.advance(2000.0)
    assert column.last is record


@pytest.mark.parametrize("outcome", [Outcome.DEAD_MAN, Outcome.INTERLOCK])
def test_record_says_who_blanked(outcome) -> None:
    column = exposing()
    column.advance(START_S + 1.0)
    column.blank(START_S + 1.0, outcome)
    assert column.last.outcome is outcome


def test_blanking_without_an_exposure_only_disarms() -> None:
    column: Any = Column(seed=0, log=ExposureLog())
    column.arm(order())
    column.blank(5.0)
    assert column.state is ColumnState.BLANKED
    assert column.last is None
    column.arm(order())  # it was never exposed


def test_ticket_is_good_for_one_exposure() -> None:
    _, _, column = expose()
    with pytest.raises(RefusedError) as refusal:
        column.arm(order())
    assert str(refusal.value) == (
        "beam: Arm: ticket t was exposed already; a ticket is good for one exposure: "
        "reserve another"
    )


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (
            lambda c: c.arm(order("u")),
            "Arm: ticket u: the beam is exposing for ticket t",
        ),
        (lambda c: c.start(1.0), "Start: nothing is armed"),
        (
            lambda c: c.disarm(),
            "Disarm: the beam is exposing for ticket t; write Blank",
        ),
        (lambda c: c.measure(1.0), "MeasureCurrent: the beam is exposing for ticket t"),
    ],
)
def test_what_can_not_be_done_in_an_exposure_is_refused(act, words) -> None:
    column = exposing()
    with pytest.raises(RefusedError, match=words):
        act(column)
    assert column.state is ColumnState.EXPOSING


def test_current_is_measured_for_two_seconds_on_a_blanked_specimen() -> None:
    column: Any = Column(seed=1, log=ExposureLog())
    assert column.current_age_s(10.0) == 1e9
    column.measure(10.0)
    assert column.state is ColumnState.MEASURING
    assert column.next_event_s() == (12.0, "measurement")
    column.advance(11.0)
    assert column.current_pa == 0.0
    column.advance(15.0)
    state: ColumnState = column.state
    assert state is ColumnState.BLANKED
    assert column.current_age_s(15.0) == 3.0
    true_pa = column.probe.at_a(11.0) * 1e12
    assert column.current_pa == pytest.approx(true_pa, rel=0.005)
    assert column.charge_c(15.0) == 0.0


def test_charge_is_the_integral_of_the_current() -> None:
    probe = ProbeCurrent(seed=2)
    probe.set_scale(2.0, 3000.0)
    probe.set_rise(1.5, 5000.0)
    edges_s = np.linspace(0.0, 9000.0, 900_001)
    currents_a = np.array([probe.at_a(t) for t in edges_s[::100] + 0.5 * 0.01])
    midpoint_c = currents_a.sum() * 1.0
    exact_c = probe.charge_c(np.array(0.0), np.array(9000.0))
    assert exact_c == pytest.approx(midpoint_c, rel=1e-3)
    parts_c = probe.charge_c(edges_s[:-1], edges_s[1:])
    assert math.fsum(parts_c) == pytest.approx(float(exact_c), rel=1e-13)
    for start_s, end_s in pairwise([2990.0, 3000.0, 3010.0]):
        mean_a = probe.charge_c(np.array(start_s), np.array(end_s)) / 10.0
        assert mean_a == pytest.approx(probe.at_a((start_s + end_s) / 2), rel=1e-5)


def test_past_rise_stays_in_the_past() -> None:
    probe, plain = ProbeCurrent(seed=2), ProbeCurrent(seed=2)
    probe.set_rise(1.5, 100.0)
    probe.end_rise(200.0)
    spans = np.array([0.0, 100.0, 200.0]), np.array([100.0, 200.0, 300.0])
    ratio = probe.charge_c(*spans) / plain.charge_c(*spans)
    np.testing.assert_allclose(ratio, [1.0, 1.5, 1.0])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no", "beam: Arm: no JSON"),
        ("[]", "is no object of JSON"),
        (order(dwell_s=-1.0), "dwell_s -1 s is outside 1e-07..10 s"),
        (order(n_frames=0), "n_frames 0 frames is outside 1..10000 frames"),
        (order(n_frames=1.5), "n_frames must be a whole number in frames, not 1.5"),
        (order(width_px=True), "width_px must be a whole number in px, not True"),
        (order(max_charge_c=float("nan")), "max_charge_c nan C is outside"),
        (order(ticket=""), "ticket must be a text of 1..39 bytes, not ''"),
        (order(ticket="x" * 40), "ticket must be a text of 1..39 bytes"),
        (order(flyback_blanked=1), "flyback_blanked must be true or false"),
        (order(tilt_deg=3.0), "unknown key tilt_deg; known: beam_diameter_nm"),
        (json.dumps({"ticket": "t"}), "center_x_nm, center_y_nm, dwell_s"),
    ],
)
def test_order_that_can_not_be_is_refused_with_the_reason(text, words) -> None:
    with pytest.raises(RefusedError) as refusal:
        read_order(text)
    assert words in str(refusal.value)


def test_log_survives_a_torn_line_and_knows_old_tickets(tmp_path) -> None:
    path = tmp_path / "exposures.jsonl"
    first = Column(seed=0, log=ExposureLog(path, boot_id="1"))
    first.arm(order("old"))
    first.start(0.0)
    first.advance(200.0)
    with path.open("ab") as file:
        file.write(b'{"ticket": "to')
    log: Any = ExposureLog(path, boot_id="2")
    assert path.read_bytes().endswith(b"}\n")
    assert (log.counter, log.first, log.get(1)) == (0, 0, None)
    assert log.find("old") is None
    second = Column(seed=0, log=log)
    with pytest.raises(RefusedError, match="ticket old was exposed already"):
        second.arm(order("old"))
    second.arm(order("new"))
    second.start(0.0)
    second.advance(200.0)
    assert log.get(1).boot_id == "2"
    assert len(path.read_bytes().splitlines()) == 2


def test_full_disk_does_not_stop_the_hardware(tmp_path, monkeypatch) -> None:
    path = tmp_path / "exposures.jsonl"
    column: Any = Column(seed=0, log=ExposureLog(path, boot_id="1"))

    def no_space(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", no_space)
        column.arm(order("lost?"))
        column.start(0.0)
        column.advance(200.0)
        assert column.last.outcome is Outcome.COMPLETE
        assert path.read_bytes() == b""
    column.arm(order("next"))
    column.start(300.0)
    column.advance(500.0)
    tickets = [json.loads(line)["ticket"] for line in path.read_text().splitlines()]
    assert tickets == ["lost?", "next"]


def test_log_that_is_something_else_is_left_alone(tmp_path) -> None:
    path = tmp_path / "exposures.jsonl"
    path.write_text("# mine\n")
    with pytest.raises(RefusedError, match=r"exposures\.jsonl, line 1 is no exposure"):
        ExposureLog(path)
    assert path.read_text() == "# mine\n"
