"""Cells of the dose ledger: what overlaps adds up, what lies apart does not."""

import math
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from cryoline.acquisition.dose import DoseLedger
from cryoline.acquisition.errors import DoseRefused, LedgerError
from cryoline.acquisition.fluence import worst_fluence_e_per_nm2
from cryoline.analysis.constants import ELEMENTARY_CHARGE_C
from cryoline.devices.exposure import Exposure, ExposureResult, Outcome, Ticket

BOOT = "boot-1"
FIELD_NM = 512.0


def exposure(**changed: Any) -> Exposure:
    """Return a map of 512 nm, whose cells of 8 nm are 4 pixels."""
    what = {
        "specimen": "wire-1",
        "width_px": 256,
        "height_px": 256,
        "pixel_nm": 2.0,
        "dwell_s": 1e-5,
    }
    return Exposure(**{**what, **changed})


ONE = worst_fluence_e_per_nm2(exposure(), 165.0)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[DoseLedger]:
    with DoseLedger(tmp_path / "dose.sqlite", limit_e_per_nm2=1e7) as ledger:
        yield ledger


@pytest.fixture
def reserve(ledger: DoseLedger) -> Callable[..., Ticket]:
    def reserve(*, counter: int = 0, **changed: Any) -> Ticket:
        return reserved(ledger, exposure(**changed), counter)

    return reserve


def reserved(ledger: DoseLedger, asked: Exposure, counter: int = 0) -> Ticket:
    return ledger.reserve(
        asked, current_pa=150, current_limit_pa=165, boot_id=BOOT, counter=counter
    )


def result(ticket: Ticket, counter: int, charge_c: float | None = None) -> Any:
    return ExposureResult(
        ticket_uid=ticket.uid,
        outcome=Outcome.COMPLETE,
        charge_c=ticket.max_charge_c if charge_c is None else charge_c,
        beam_on_s=ticket.max_time_s,
        frames=ticket.exposure.n_frames,
        counter=counter,
        boot_id=BOOT,
    )


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(DoseRefused) as caught:
        call()
    return str(caught.value)


def place(ledger: DoseLedger, region: str, x_nm: float, y_nm: float = 0.0) -> None:
    ledger.place_region("wire-1", region, x_nm=x_nm, y_nm=y_nm, reason="a test")


def held(ledger: DoseLedger, region: str) -> float:
    used = ledger.usage("wire-1", region)
    return used.settled_e_per_nm2 + used.reserved_e_per_nm2


# Neighbours


def test_a_mosaic_of_adjacent_fields_does_not_double_at_its_seams(
    ledger: DoseLedger, reserve: Callable[..., Ticket]
) -> None:
    names = [f"tile-{n}" for n in range(9)]
    for n, name in enumerate(names):
        # An origin that is no round number, so that seams are rounded.
        place(ledger, name, 1e4 / 3 + FIELD_NM * (n % 3), 0.1 + FIELD_NM * (n // 3))
        reserve(region=name)

    for name in names:
        assert held(ledger, name) == pytest.approx(ONE, abs=2e-3)


def test_fields_that_overlap_add_up_where_they_do(
    ledger: DoseLedger, reserve: Callable[..., Ticket]
) -> None:
    place(ledger, "region-2", FIELD_NM - 80)
    reserve()
    reserve(region="region-2")

    assert held(ledger, "region-1") == pytest.approx(2 * ONE, abs=3e-3)
    assert held(ledger, "region-2") == pytest.approx(2 * ONE, abs=3e-3)
    field = ledger.fluence_map("wire-1", "region-1", cell_nm=8)
    assert np.median(field.reserved_e_per_nm2) == pytest.approx(ONE, abs=2e-3)


@pytest.mark.parametrize("strip_nm", [2.0, 4.0, 6.0])
def test_a_strip_narrower_than_a_cell_counts_in_the_cells_of_both_fields(
    ledger: DoseLedger, strip_nm: float
) -> None:
    """Nine tenths and a half: in which cells it is too much, their edges say."""
    place(ledger, "region-2", FIELD_NM - strip_nm)
    reserved(ledger, exposure(n_frames=round(0.9 * 1e7 / ONE)))

    said = refused(
        lambda: reserved(
            ledger, exposure(region="region-2", n_frames=round(0.5 * 1e7 / ONE))
        )
    )

    assert "by region-1" in said
    assert held(ledger, "region-1") <= 1e7


def test_a_field_reaches_its_neighbour_when_it_is_tilted(
    ledger: DoseLedger, reserve: Callable[..., Ticket]
) -> None:
    place(ledger, "beside", FIELD_NM)
    place(ledger, "above", 0.0, FIELD_NM)
    reserve(region="beside")
    reserve(region="above")
    for tilt_deg in range(-60, 61, 5):
        reserve(tilt_deg=tilt_deg)

    # Its nearest cells, of 8 nm, are hit at 15 deg and more, and in part at 5 and 10.
    parts = [
        min(1.0, (1 / math.cos(math.radians(t)) - 1) * FIELD_NM / 2 / 8)
        for t in range(-60, 61, 5)
    ]
    assert parts.count(1.0) == 20
    assert held(ledger, "region-1") == pytest.approx(25 * ONE, abs=0.1)
    assert held(ledger, "beside") == pytest.approx((1 + sum(parts)) * ONE, rel=1e-6)
    assert held(ledger, "above") == pytest.approx(ONE, abs=2e-3)


def test_a_refusal_says_whose_dose_fills_the_budget_and_where(
    ledger: DoseLedger, reserve: Callable[..., Ticket]
) -> None:
    place(ledger, "tip", FIELD_NM / 2)
    reserve(region="tip", n_frames=3880)

    message = refused(lambda: reserve(n_frames=11))

    assert message == (
        "dose: specimen wire-1, region-1: this record exposure may cost 2.83e4 e/nm2 "
        "(1 exposure at up to 165 pA = 150 pA + 10 %), 1.05e4 e/nm2 of 1.00e7 e/nm2 is "
        "left (0 e/nm2 settled, 9.99e6 e/nm2 reserved; 9.99e6 e/nm2 of it by tip, at "
        "x = 4 nm, y = -252 nm); lower the measured current to 55.4 pA or less, scan "
        "fewer frames, or choose a larger pixel"
    )
    reserve(n_frames=11, offset_x_nm=-FIELD_NM / 2)


def test_the_limit_of_a_neighbour_holds_in_its_cells_only(
    ledger: DoseLedger, reserve: Callable[..., Ticket]
) -> None:
    place(ledger, "sei", FIELD_NM - 80)
    ledger.set_limit("wire-1", "sei", 2.5 * ONE, reason="fluorine leaves")
    reserve(region="sei")

    reserve()
    message = refused(reserve)

    assert "the limit is that of sei, at x = " in message
    assert f"{ONE:.2e}".replace("e+0", "e") + " e/nm2 of it by sei" in message
    for _ in range(4):
        reserve(offset_x_nm=-81.0)


def test_where_a_region_with_a_limit_lies_before_it_is_exposed_is_its_centre(
    ledger: DoseLedger, reserve: Callable[..., Ticket]
) -> None:
    place(ledger, "sei", 100.0)
    ledger.set_limit("wire-1", "sei", 0.5 * ONE, reason="fluorine leaves")

    assert "the limit is that of sei" in refused(reserve)
    reserve(offset_y_nm=FIELD_NM)


# Places


def test_regions_that_nobody_has_placed_are_charged_together(
    ledger: DoseLedger, reserve: Callable[..., Ticket]
) -> None:
    reserve()
    reserve(region="region-2")

    assert held(ledger, "region-1") == pytest.approx(2 * ONE, abs=3e-3)
    # Nor is a region that nobody has heard of free of what lies there.
    assert held(ledger, "region-3") == pytest.approx(2 * ONE, abs=3e-3)


def test_a_region_that_has_its_dose_stays_where_it_is(
    ledger: DoseLedger, reserve: Callable[..., Ticket]
) -> None:
    place(ledger, "region-1", 5.0, 6.0)
    place(ledger, "region-1", 7.0, 8.0)
    ticket = reserve()

    with pytest.raises(LedgerError) as moved:
        place(ledger, "region-1", 5000.0)
    place(ledger, "region-1", 7.0, 8.0)
    with pytest.raises(LedgerError, match=r"\(nan, 0\) nm is no place"):
        place(ledger, "region-2", math.nan)
    with pytest.raises(LedgerError, match="give a reason"):
        ledger.place_region("wire-1", "region-2", x_nm=0, y_nm=0, reason=" ")

    assert str(moved.value) == (
        "dose: specimen wire-1, region-1 was exposed, or is reserved, at (7, 8) nm: "
        "what it has received lies there for good. Give the other place a region of "
        "its own"
    )
    ledger.release(ticket.uid, reason="never armed", boot_id=BOOT, counter=0)
    place(ledger, "region-1", 5000.0)


def test_the_outlines_are_of_what_was_recorded(
    ledger: DoseLedger, reserve: Callable[..., Ticket]
) -> None:
    place(ledger, "region-1", 40.0, 50.0)
    reserve(purpose="view", pixel_nm=8.0)
    reserve(tilt_deg=60.0)
    reserve(tilt_deg=5.0, rotation_deg=10.0)

    (outline,) = ledger.outlines("wire-1").values()

    assert outline == (40.0, 50.0, FIELD_NM, FIELD_NM, 10.0)


# Beams that are discs


def test_a_parked_beam_is_charged_to_its_own_spot(
    ledger: DoseLedger, reserve: Callable[..., Ticket]
) -> None:
    parked = {"width_px": 1, "height_px": 1, "dwell_s": 0.01, "beam_diameter_nm": 200.0}
    ticket = reserve(purpose="focus", offset_y_nm=2000.0, **parked)

    spot_nm2 = math.pi * 100**2
    assert ticket.reserved_e_per_nm2 == pytest.approx(
        165e-12 * 0.01 / ELEMENTARY_CHARGE_C / spot_nm2, rel=1e-4
    )
    # 95 % of it in the disc, and a quarter of the tails, which lie in four times that.
    most = (0.95 + 0.05 / 4) * ticket.reserved_e_per_nm2
    assert held(ledger, "region-1") == pytest.approx(most, rel=1e-3)
    # Where the region is recorded there is nothing.
    reserve(region="region-2", n_frames=2)
    assert held(ledger, "region-2") == pytest.approx(2 * ONE, abs=3e-3)


def test_the_tails_of_a_wide_beam_reach_the_neighbour(
    ledger: DoseLedger, reserve: Callable[..., Ticket]
) -> None:
    place(ledger, "beside", 0.0, FIELD_NM / 2 + 150)
    reserve(region="beside", width_px=1, height_px=1, beam_diameter_nm=200.0, dwell_s=1)
    beside = ledger.usage("wire-1", "beside").reserved_e_per_nm2
    reserve()

    tails = 0.05 / 4 * beside / (0.95 + 0.05 / 4)
    assert held(ledger, "region-1") == pytest.approx(ONE + tails, rel=0.01)


# The map


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"tilt_deg": 60.0},
        {"tilt_deg": -35.0, "rotation_deg": 20.0, "offset_x_nm": 12.0},
        {"beam_diameter_nm": 300.0, "tilt_deg": 10.0},
    ],
)
def test_the_sum_of_the_map_is_the_charge(
    ledger: DoseLedger, reserve: Callable[..., Ticket], changed: dict[str, float]
) -> None:
    ticket = reserve(**changed)
    charge_c = 0.7 * ticket.max_charge_c
    settled = ledger.settle(ticket.uid, result(ticket, 1, charge_c))

    cells = ledger.fluence_map("wire-1", cell_nm=9.0)

    normal_nm2 = cells.cell_nm**2 * math.cos(math.radians(ticket.exposure.tilt_deg))
    sum_c = cells.settled_e_per_nm2.sum() * normal_nm2 * ELEMENTARY_CHARGE_C
    booked_c = (
        settled.fluence_e_per_nm2 * ticket.exposure.area_nm2 * ELEMENTARY_CHARGE_C
    )
    assert sum_c == pytest.approx(booked_c, rel=1e-12)
    assert 0 <= sum_c / charge_c - 1 < 1e-6  # a charge is rounded up to 1e-3 e/nm2
    assert cells.reserved_e_per_nm2.max() == 0
    assert cells.settled_e_per_nm2.shape == (len(cells.y_nm), len(cells.x_nm))


def test_a_map_without_places_or_cells_is_refused(ledger: DoseLedger) -> None:
    with pytest.raises(LedgerError, match="nothing is booked there that has a place"):
        ledger.fluence_map("wire-1")
    with pytest.raises(LedgerError, match="cells of -1 nm is none"):
        ledger.fluence_map("wire-1", cell_nm=-1.0)


def projected(asked: Exposure, x_nm: NDArray[Any], y_nm: NDArray[Any]) -> NDArray[Any]:
    """Return which points of the specimen an exposure hits: the plain way."""
    t = math.radians(asked.tilt_deg)
    u, v = x_nm * math.cos(t) - asked.offset_x_nm, y_nm - asked.offset_y_nm
    r = math.radians(asked.rotation_deg)
    a, b = u * math.cos(r) + v * math.sin(r), v * math.cos(r) - u * math.sin(r)
    half_nm = asked.width_px * asked.pixel_nm / 2
    return np.asarray((abs(a) <= half_nm) & (abs(b) <= half_nm))


exposures = st.builds(
    exposure,
    region=st.sampled_from(["a", "b", "c"]),
    width_px=st.just(64),
    height_px=st.just(64),
    pixel_nm=st.sampled_from([2.0, 4.0]),
    n_frames=st.integers(1, 9),
    tilt_deg=st.sampled_from([-60.0, -20.0, 0.0, 0.0, 45.0]),
    offset_x_nm=st.sampled_from([-100.0, 0.0, 0.0, 60.0]),
    offset_y_nm=st.floats(-150, 150),
    rotation_deg=st.sampled_from([0.0, 0.0, 30.0]),
)


@pytest.fixture(scope="module")
def wide_ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DoseLedger]:
    path = tmp_path_factory.mktemp("dose") / "dose.sqlite"
    with DoseLedger(path, limit_e_per_nm2=1e9) as ledger:
        yield ledger


@settings(max_examples=40, deadline=None)
@given(st.lists(exposures, min_size=1, max_size=6))
def test_no_place_has_more_than_the_ledger_says(
    wide_ledger: DoseLedger, asked: Sequence[Exposure]
) -> None:
    """Counted at points a nanometre apart, wherever a cell and its neighbours agree.

    A cell that an edge passes holds its mean, which is below its most.
    """
    specimen = f"wire-{uuid.uuid4()}"
    asked = [one.model_copy(update={"specimen": specimen}) for one in asked]
    for one in asked:
        reserved(wide_ledger, one)
    x = np.arange(-700, 700, 4.0) + 0.37
    y = np.arange(-450, 450, 4.0) + 0.41
    points = np.meshgrid(x, y)
    dose = np.sum(
        [
            projected(one, *points) * worst_fluence_e_per_nm2(one, 165.0)
            for one in asked
        ],
        axis=0,
    )

    # Edges may lie between the points: each field is taken a point wider here.
    most = np.sum(
        [
            ndimage.binary_dilation(projected(one, *points), np.ones((3, 3)))
            * worst_fluence_e_per_nm2(one, 165.0)
            for one in asked
        ],
        axis=0,
    )

    for region in {one.region for one in asked}:
        own = np.zeros(points[0].shape, dtype=bool)
        for one in asked:
            if one.region == region:
                own |= projected(one, *points)
        # The least in a window of two cells of the widest kind: one lies within it.
        side = 16 * 2 // 4 * 2
        windows = np.lib.stride_tricks.sliding_window_view(
            np.where(own, dose, 0.0), (side, 2 * side)
        )
        surely = windows.min(axis=(2, 3)).max()

        used = wide_ledger.usage(specimen, region)
        assert used.reserved_e_per_nm2 >= surely - 1e-6
        assert used.reserved_e_per_nm2 <= most.max() + 1e-3 * len(asked)


# Series


def test_a_series_counts_what_it_does_to_its_neighbours(ledger: DoseLedger) -> None:
    place(ledger, "beside", FIELD_NM)
    full = ledger.open_series([exposure(region="beside")] * 5, current_limit_pa=165.0)
    ledger.set_limit("wire-1", "beside", 6 * ONE, reason="a test")
    flat = [exposure(tilt_deg=t) for t in (0, 2)]
    tilted = [exposure(tilt_deg=60.0)] * 2

    ledger.open_series(flat, current_limit_pa=165.0)
    message = refused(lambda: ledger.open_series(tilted, current_limit_pa=165.0))
    assert "region-1: the series may cost" in message
    assert "of it by beside, the limit is that of beside" in message
    ledger.close_series(full)
    ledger.open_series(tilted, current_limit_pa=165.0)


def test_a_budget_holds_in_the_fullest_cell_of_a_series(ledger: DoseLedger) -> None:
    apart = [exposure(), exposure(offset_y_nm=FIELD_NM)]
    overlapping = [exposure(), exposure(offset_y_nm=FIELD_NM / 2)]

    ledger.open_series(apart, current_limit_pa=165.0, budget_e_per_nm2=1.5 * ONE)
    assert "its budget is" in refused(
        lambda: ledger.open_series(
            overlapping, current_limit_pa=165.0, budget_e_per_nm2=1.5 * ONE
        )
    )


def test_what_is_foreseen_names_the_cell_that_is_full_first(
    ledger: DoseLedger, reserve: Callable[..., Ticket]
) -> None:
    place(ledger, "tip", 0.0, FIELD_NM / 2)
    reserve(region="tip")

    (seen,) = ledger.foresee([exposure()] * 2, current_limit_pa=165.0)

    assert seen.asked_e_per_nm2 == pytest.approx(2 * ONE, abs=3e-3)
    assert seen.worst_e_per_nm2 == pytest.approx(3 * ONE, abs=4e-3)
    assert seen.limit_e_per_nm2 == 1e7
    assert seen.place_nm[1] > 0
    assert seen.refusal == ""


# Before and after


def test_before_and_after_are_those_of_the_fullest_cell_in_time_order(
    ledger: DoseLedger, reserve: Callable[..., Ticket]
) -> None:
    place(ledger, "tip", FIELD_NM / 2)
    first = reserve(region="tip", n_frames=3)
    second = reserve(n_frames=2)
    third = reserve(offset_x_nm=-FIELD_NM / 4)
    one = first.reserved_e_per_nm2 / 3

    # The instrument's log is read late, and the newest first.
    c = ledger.settle(third.uid, result(third, 3))
    b = ledger.settle(second.uid, result(second, 2))
    a = ledger.settle(first.uid, result(first, 1))

    found = [(s.prior_e_per_nm2 / one, s.after_e_per_nm2 / one) for s in (a, b, c)]
    # What was not known to be charged yet counted as reserved, and is not prior.
    assert found[0] == pytest.approx((0, 3))
    assert found[1] == pytest.approx((0, 2))
    again = [ledger.settle(t.uid, result(t, n)) for t, n in
             ((first, 1), (second, 2), (third, 3))]  # fmt: skip
    found = [(s.prior_e_per_nm2 / one, s.after_e_per_nm2 / one) for s in again]
    assert found == [
        pytest.approx((0, 3)),
        pytest.approx((3, 5)),
        pytest.approx((5, 6)),
    ]


def test_the_mean_and_the_fluence_under_the_probe_are_recorded(tmp_path: Path) -> None:
    with DoseLedger(
        tmp_path / "dose.sqlite", limit_e_per_nm2=1e7, probe_diameter_nm=0.2
    ) as ledger:
        ticket = reserved(ledger, exposure())
        settled = ledger.settle(ticket.uid, result(ticket, 1))
        (row,) = [r for r in ledger.history("wire-1") if r.kind == "settle"]

    assert row.body["mean_e_per_nm2"] == settled.fluence_e_per_nm2
    ratio = row.body["local_e_per_nm2"] / settled.fluence_e_per_nm2
    assert ratio == pytest.approx(4 / (math.pi * 0.01))  # 127 times: never ruled on
    with pytest.raises(LedgerError, match="-1 nm is no size"):
        DoseLedger(tmp_path / "x", limit_e_per_nm2=1, probe_diameter_nm=-1.0)
    with pytest.raises(LedgerError, match=r"as dose\.place_uncertainty_nm"):
        DoseLedger(tmp_path / "x", limit_e_per_nm2=1, place_uncertainty_nm=math.inf)


# What a specimen was cut from


def test_the_limits_and_the_dose_of_its_ancestors_hold_for_a_specimen(
    ledger: DoseLedger, reserve: Callable[..., Ticket]
) -> None:
    reserve(specimen="boule", region="edge", n_frames=2)
    reserve(specimen="cell", region="left", n_frames=3)
    reserve(specimen="cell", region="right", n_frames=5, offset_x_nm=2000.0)
    ledger.register("cell", ["boule"])
    ledger.register("wire-1", ["boule", "cell"])

    assert ledger.usage("wire-1", "region-1").settled_e_per_nm2 == pytest.approx(
        7 * ONE, rel=1e-6
    )
    ledger.set_limit("cell", "left", 9.5 * ONE, reason="a test")
    reserve(n_frames=2)
    message = refused(reserve)
    assert f"{5 * ONE:.2e}".replace("e+0", "e") + " e/nm2 of it by cell" in message
    assert "the limit is that of cell" in message

    ledger.register("wire-1", ["boule", "cell"], cut_from="left")
    assert held(ledger, "region-1") == pytest.approx((2 + 3 + 2) * ONE, rel=1e-6)
    reserve()


def test_what_is_known_of_a_specimens_parents_is_not_contradicted(
    ledger: DoseLedger,
) -> None:
    ledger.register("wire-1", ())
    ledger.register("wire-1", ["boule", "cell"], cut_from="left")
    ledger.register("wire-1", ["boule", "cell"])
    ledger.register("wire-1", ())

    for wrong in (["cell"], ["boule", "cell-2"]):
        with pytest.raises(
            LedgerError, match="is registered as made from boule > cell"
        ):
            ledger.register("wire-1", wrong)
    with pytest.raises(LedgerError, match="boule > cell, left, not from"):
        ledger.register("wire-1", ["boule", "cell"], cut_from="right")
    with pytest.raises(LedgerError, match="its own ancestor"):
        ledger.register("wire-1", ["wire-1"])
    with pytest.raises(LedgerError, match="was cut from x of what"):
        ledger.register("wire-2", (), cut_from="x")
    assert [row.kind for row in ledger.history("wire-1")] == ["specimen"]


def test_every_booking_says_where_it_lies(
    ledger: DoseLedger, reserve: Callable[..., Ticket]
) -> None:
    series = ledger.open_series([exposure()] * 2, current_limit_pa=165.0)
    ticket = ledger.reserve(
        exposure(),
        current_pa=150,
        current_limit_pa=165,
        boot_id=BOOT,
        counter=0,
        series=series,
    )
    ledger.settle(ticket.uid, result(ticket, 1))
    ledger.close_series(series)

    with closing(sqlite3.connect(ledger.path)) as connection:
        rows = connection.execute(
            "SELECT footprint, count(*), sum(CASE WHEN account != 'settled' THEN "
            "milli_e_per_nm2 END) FROM bookings GROUP BY 1"
        ).fetchall()
    assert len(rows) == 1
    assert rows[0][1:] == (6, 0)
