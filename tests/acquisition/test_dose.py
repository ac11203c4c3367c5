"""The dose ledger: what is reserved, charged, given back, and refused."""

import math
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryoline.acquisition.dose import DoseLedger
from cryoline.acquisition.errors import DoseRefused, LedgerError
from cryoline.acquisition.fluence import worst_fluence_e_per_nm2
from cryoline.analysis.constants import ELEMENTARY_CHARGE_C
from cryoline.devices.exposure import (
    Exposure,
    ExposureResult,
    Outcome,
    Purpose,
    Ticket,
)

BOOT = "boot-1"

# He et al.: pixel nm, current pA, published e/nm2 of 25 tilts and 2700 s.
PIXELS_NM = {"1st": 2.134, "36th": 1.48, "100th": 1.068}


def exposure(**changed: Any) -> Exposure:
    """Return a map of one tilt as He et al. made it, 114 s."""
    what = {
        "specimen": "wire-1",
        "width_px": 512,
        "height_px": 512,
        "pixel_nm": 2.134,
        "dwell_s": 19.767e-6,
        "n_frames": 22,
    }
    return Exposure(**{**what, **changed})


def result(ticket: Ticket, counter: int, **changed: Any) -> ExposureResult:
    """Return a complete exposure at the measured current."""
    what = {
        "ticket_uid": ticket.uid,
        "outcome": Outcome.COMPLETE,
        "charge_c": ticket.current_pa * 1e-12 * ticket.max_time_s,
        "beam_on_s": ticket.max_time_s,
        "frames": ticket.exposure.n_frames,
        "counter": counter,
        "boot_id": BOOT,
    }
    return ExposureResult(**{**what, **changed})


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[DoseLedger]:
    with DoseLedger(tmp_path / "dose.sqlite", limit_e_per_nm2=1e7) as ledger:
        yield ledger


@pytest.fixture
def reserve(ledger: DoseLedger) -> Callable[..., Ticket]:
    def reserve(asked: Exposure | None = None, **changed: Any) -> Ticket:
        what = {
            "current_pa": 150.0,
            "current_limit_pa": 165.0,
            "boot_id": BOOT,
            "counter": 0,
        }
        return ledger.reserve(asked or exposure(), **{**what, **changed})

    return reserve


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(DoseRefused) as caught:
        call()
    return str(caught.value)


def test_a_reservation_counts_in_full_until_it_is_settled(
    ledger: DoseLedger, reserve: Callable[..., Ticket]
) -> None:
    ticket = reserve()

    used = ledger.usage("wire-1", "region-1")
    worst = worst_fluence_e_per_nm2(exposure(), 165.0)
    assert used.unsettled_e_per_nm2 == used.reserved_e_per_nm2
    assert worst <= used.reserved_e_per_nm2 < worst + 1.1e-3
    assert ticket.reserved_e_per_nm2 == used.reserved_e_per_nm2
    assert ledger.unsettled() == [ticket]

    settled = ledger.settle(ticket.uid, result(ticket, 1))

    used = ledger.usage("wire-1", "region-1")
    true = 150e-12 * 114.0 / ELEMENTARY_CHARGE_C / (512 * 2.134) ** 2
    assert settled.fluence_e_per_nm2 == pytest.approx(true, rel=1e-4)
    assert used.settled_e_per_nm2 == settled.fluence_e_per_nm2
    assert used.reserved_e_per_nm2 == 0
    assert used.left_e_per_nm2 == 1e7 - used.settled_e_per_nm2
    assert ledger.unsettled() == []


def test_what_was_charged_before_is_the_prior_of_the_next(
    ledger: DoseLedger, reserve: Callable[..., Ticket]
) -> None:
    settlements = []
    for n in range(3):
        ticket = reserve(counter=n)
        settlements.append(ledger.settle(ticket.uid, result(ticket, n + 1)))

    each = settlements[0].fluence_e_per_nm2
    assert [s.prior_e_per_nm2 for s in settlements] == pytest.approx(
        [0, each, 2 * each]
    )
    assert settlements[2].after_e_per_nm2 == pytest.approx(3 * each)


def test_a_cut_exposure_is_charged_by_its_charge(
    ledger: DoseLedger, reserve: Callable[..., Ticket]
) -> None:
    ticket = reserve()
    cut = result(ticket, 1, outcome=Outcome.CUT, charge_c=ticket.max_charge_c / 4)

    settled = ledger.settle(ticket.uid, cut)

    quarter = ticket.reserved_e_per_nm2 / 4
    assert settled.fluence_e_per_nm2 == pytest.approx(quarter, abs=2e-3)
    assert ledger.usage("wire-1", "region-1").reserved_e_per_nm2 == 0


@pytest.mark.parametrize("purpose", list(Purpose))
def test_every_purpose_costs_the_region_the_same(
    ledger: DoseLedger, reserve: Callable[..., Ticket], purpose: Purpose
) -> None:
    reserve(exposure(purpose=purpose))

    worst = worst_fluence_e_per_nm2(exposure(), 165.0)
    used = ledger.usage("wire-1", "region-1")
    assert used.reserved_e_per_nm2 == pytest.approx(worst)


def test_flyback_that_is_not_blanked_is_paid_for(
    ledger: DoseLedger, reserve: Callable[..., Ticket]
) -> None:
    line_s = 512 * 19.767e-6
    blanked = reserve(exposure(flyback_s=line_s / 10))
    open_ = reserve(exposure(flyback_s=line_s / 10, flyback_blanked=False))

    assert open_.reserved_e_per_nm2 == pytest.approx(1.1 * blanked.reserved_e_per_nm2)


def test_regions_that_lie_apart_and_specimens_have_accounts_of_their_own(
    ledger: DoseLedger, reserve: Callable[..., Ticket]
) -> None:
    ledger.place_region("wire-1", "region-2", x_nm=0, y_nm=3000, reason="a map")
    reserve()
    reserve(exposure(region="region-2"))
    reserve(exposure(region="region-2"))
    reserve(exposure(specimen="wire-2"))

    one = ledger.usage("wire-1", "region-1").reserved_e_per_nm2
    assert ledger.usage("wire-1", "region-2").reserved_e_per_nm2 == 2 * one
    assert ledger.usage("wire-2", "region-1").reserved_e_per_nm2 == one
    assert ledger.usage("wire-3", "region-1").reserved_e_per_nm2 == 0
    assert ledger.specimens() == ["wire-1", "wire-2"]
    assert ledger.regions("wire-1") == ["region-1", "region-2"]


# He et al.


@pytest.mark.parametrize(
    ("sample", "expected_e_per_nm2"),
    [("1st", 2.12e6), ("36th", 4.40e6), ("100th", 8.45e6)],
)
def test_the_doses_of_he_et_al_by_the_ledger(
    ledger: DoseLedger,
    reserve: Callable[..., Ticket],
    sample: str,
    expected_e_per_nm2: float,
) -> None:
    # 150 pA for 2700 s: 108 s a tilt.
    asked = exposure(pixel_nm=PIXELS_NM[sample], dwell_s=108 / (22 * 512**2))
    for n in range(25):
        ticket = reserve(asked, current_limit_pa=151.0, counter=n)
        ledger.settle(ticket.uid, result(ticket, n + 1))

    used = ledger.usage("wire-1", "region-1")
    assert used.settled_e_per_nm2 == pytest.approx(expected_e_per_nm2, rel=0.01)


def test_200_pa_on_the_smallest_field_of_he_et_al_is_refused(
    ledger: DoseLedger,
) -> None:
    series = [exposure(pixel_nm=1.068, dwell_s=108 / (22 * 512**2))] * 25

    message = refused(
        lambda: ledger.open_series(series, current_limit_pa=200, current_pa=200)
    )

    assert message == (
        "dose: specimen wire-1, region-1: the series may cost 1.13e7 e/nm2 (25 "
        "exposures at up to 200 pA = 200 pA + 0 %), 1.00e7 e/nm2 of 1.00e7 e/nm2 is "
        "left (nothing is used yet); lower the measured current to 177 pA or less, "
        "scan fewer frames, or choose a larger pixel"
    )
    assert ledger.usage("wire-1", "region-1").reserved_e_per_nm2 == 0
    ledger.open_series(series, current_limit_pa=177, current_pa=177)


@pytest.fixture(scope="module")
def tight_ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DoseLedger]:
    path = tmp_path_factory.mktemp("dose") / "dose.sqlite"
    with DoseLedger(path, limit_e_per_nm2=1e6) as ledger:
        yield ledger


@given(
    pixel_nm=st.floats(0.05, 3),
    current_pa=st.floats(50, 5e5),
    margin=st.floats(0, 0.5),
    n_exposures=st.integers(1, 50),
)
def test_the_current_that_a_refusal_names_fits(
    tight_ledger: DoseLedger,
    pixel_nm: float,
    current_pa: float,
    margin: float,
    n_exposures: int,
) -> None:
    wire = f"wire-{uuid.uuid4()}"
    asked = [exposure(specimen=wire, pixel_nm=pixel_nm)] * n_exposures

    def ask(current_pa: float) -> None:
        limit_pa = current_pa * (1 + margin)
        tight_ledger.open_series(
            asked, current_limit_pa=limit_pa, current_pa=current_pa
        )

    try:
        ask(current_pa)
    except DoseRefused as error:
        _, _, remedy = str(error).partition("measured current to ")
        if remedy:
            ask(float(remedy.split()[0]))


# Refusals: nothing is written, the text says what to do.


def test_an_exposure_above_what_is_left_is_refused(
    ledger: DoseLedger, reserve: Callable[..., Ticket]
) -> None:
    ledger.settle(reserve().uid, result(ledger.unsettled()[0], 1))
    reserve(counter=1)

    message = refused(lambda: reserve(exposure(n_frames=2300), counter=1))

    assert message == (
        "dose: specimen wire-1, region-1: this record exposure may cost 1.03e7 e/nm2 "
        "(1 exposure at up to 165 pA = 150 pA + 10 %), 9.81e6 e/nm2 of 1.00e7 e/nm2 "
        "is left (8.94e4 e/nm2 settled, 9.83e4 e/nm2 reserved); lower the measured "
        "current to 143 pA or less, scan fewer frames, or choose a larger pixel"
    )
    assert len(ledger.unsettled()) == 1


def test_a_full_region_has_no_current_that_fits(
    ledger: DoseLedger, reserve: Callable[..., Ticket]
) -> None:
    ledger.set_limit("wire-1", "region-1", 1e5, reason="a test")
    reserve()

    message = refused(reserve)

    assert "1.66e3 e/nm2 of 1.00e5 e/nm2 is left" in message
    assert "lower the measured current to 2.52 pA or less" in message
    ledger.set_limit("wire-1", "region-1", 9.8e4, reason="a test")
    assert "no current fits: take another region or specimen" in refused(reserve)


def test_a_series_one_percent_above_its_budget_is_refused(ledger: DoseLedger) -> None:
    asked = [exposure()] * 25
    worst = 25 * worst_fluence_e_per_nm2(exposure(), 165.0)

    message = refused(
        lambda: ledger.open_series(
            asked, current_limit_pa=165.0, budget_e_per_nm2=worst / 1.01
        )
    )

    assert message == (
        "dose: specimen wire-1, region-1: the series may cost 2.46e6 e/nm2 (25 "
        "exposures at up to 165 pA), its budget is 2.43e6 e/nm2; lower the current "
        "limit to 163 pA or less, scan fewer frames, or choose a larger pixel"
    )
    ledger.open_series(
        asked, current_limit_pa=165.0, budget_e_per_nm2=math.ceil(worst) + 1
    )


@pytest.mark.parametrize("budget", [0.0, -1.0, math.nan, math.inf])
def test_a_budget_that_allows_nothing_is_refused(
    ledger: DoseLedger, budget: float
) -> None:
    message = refused(
        lambda: ledger.open_series(
            [exposure()], current_limit_pa=165.0, budget_e_per_nm2=budget
        )
    )

    assert message.startswith(f"dose: a budget of {budget:g} e/nm2 allows nothing")


@pytest.mark.parametrize("current_pa", [0.0, -150.0, math.nan, math.inf, -math.inf])
def test_a_current_that_is_none_is_refused_before_anything_is_written(
    ledger: DoseLedger, reserve: Callable[..., Ticket], current_pa: float
) -> None:
    text = f"{current_pa:g} pA is no probe current; nothing was reserved"

    assert text in refused(lambda: reserve(current_pa=current_pa))
    assert text in refused(lambda: reserve(current_limit_pa=current_pa))
    assert text in refused(
        lambda: ledger.open_series([exposure()], current_limit_pa=current_pa)
    )
    assert ledger.specimens() == []


def test_a_limit_below_the_measured_current_is_refused(
    reserve: Callable[..., Ticket],
) -> None:
    assert "165 pA lies below the measured current, 166 pA" in refused(
        lambda: reserve(current_pa=166.0)
    )


def test_a_series_without_exposures_is_refused(ledger: DoseLedger) -> None:
    assert "a series without exposures" in refused(
        lambda: ledger.open_series([], current_limit_pa=165.0)
    )


@pytest.mark.parametrize(("boot_id", "counter"), [("", 0), (BOOT, -1)])
def test_an_instrument_that_does_not_say_who_it_is_gets_no_ticket(
    reserve: Callable[..., Ticket], boot_id: str, counter: int
) -> None:
    with pytest.raises(LedgerError, match="Check BootId_RBV and"):
        reserve(boot_id=boot_id, counter=counter)


@pytest.mark.parametrize("limit", [0.0, -1.0, math.nan, math.inf])
def test_a_ledger_without_a_limit_is_refused(tmp_path: Path, limit: float) -> None:
    with pytest.raises(LedgerError, match="e/nm2 is no limit"):
        DoseLedger(tmp_path / "dose.sqlite", limit_e_per_nm2=limit)
    assert list(tmp_path.iterdir()) == []


# More than was reserved


def test_more_than_reserved_is_charged_in_full_and_blocks_the_region(
    ledger: DoseLedger, reserve: Callable[..., Ticket]
) -> None:
    ticket = reserve()

    settled = ledger.settle(
        ticket.uid, result(ticket, 1, charge_c=1.3 * ticket.max_charge_c)
    )

    assert settled.over
    used = ledger.usage("wire-1", "region-1")
    over = 1.3 * ticket.reserved_e_per_nm2
    assert used.settled_e_per_nm2 == pytest.approx(over, abs=2e-3)
    assert used.is_blocked
    assert used.blocked_by == (ticket.uid,)
    message = refused(lambda: reserve(counter=1))
    assert message == (
        f"dose: specimen wire-1, region-1 is blocked: ticket {ticket.uid} was charged "
        "more than it had reserved; see what happened (cryoline dose show wire-1), "
        "then: cryoline dose acknowledge wire-1 region-1 --reason TEXT"
    )
    assert message == refused(
        lambda: ledger.open_series([exposure()], current_limit_pa=165.0)
    )
    reserve(exposure(region="region-2"), counter=1)

    ledger.acknowledge("wire-1", "region-1", reason="the gun had just been flashed")

    assert not ledger.usage("wire-1", "region-1").is_blocked
    reserve(counter=1)


def test_the_full_reservation_is_not_called_over(
    ledger: DoseLedger, reserve: Callable[..., Ticket]
) -> None:
    ticket = reserve()

    # What the instrument sums up need not be equal to the last bit.
    charge_c = ticket.max_charge_c * (1 + 1e-13)
    assert not ledger.settle(ticket.uid, result(ticket, 1, charge_c=charge_c)).over


def test_a_second_exposure_by_one_ticket_is_charged_as_well(
    ledger: DoseLedger, reserve: Callable[..., Ticket]
) -> None:
    ticket = reserve()
    first = ledger.settle(ticket.uid, result(ticket, 1))
    again = ledger.settle(ticket.uid, result(ticket, 1))
    second = ledger.settle(ticket.uid, result(ticket, 2))

    assert again == first
    assert second.over
    used = ledger.usage("wire-1", "region-1")
    assert used.settled_e_per_nm2 == pytest.approx(2 * first.fluence_e_per_nm2)


def test_an_exposure_by_a_released_ticket_is_charged_and_blocks(
    ledger: DoseLedger, reserve: Callable[..., Ticket]
) -> None:
    ticket = reserve()
    ledger.release(ticket.uid, reason="not armed", boot_id=BOOT, counter=0)

    settled = ledger.settle(ticket.uid, result(ticket, 1))

    used = ledger.usage("wire-1", "region-1")
    assert used.settled_e_per_nm2 == settled.fluence_e_per_nm2 > 0
    assert used.reserved_e_per_nm2 == 0


def test_a_correction_can_raise_a_charge_and_never_lower_it(
    ledger: DoseLedger, reserve: Callable[..., Ticket]
) -> None:
    ticket = reserve()
    full = ledger.settle(ticket.uid, result(ticket, 1))

    ledger.settle(ticket.uid, result(ticket, 1, charge_c=0.0))
    used = ledger.usage("wire-1", "region-1")
    assert used.settled_e_per_nm2 == full.fluence_e_per_nm2

    ledger.settle(ticket.uid, result(ticket, 1, charge_c=ticket.max_charge_c))
    used = ledger.usage("wire-1", "region-1")
    assert used.settled_e_per_nm2 == pytest.approx(ticket.reserved_e_per_nm2, abs=2e-3)


def test_a_charge_beyond_reason_leaves_nothing(
    ledger: DoseLedger, reserve: Callable[..., Ticket]
) -> None:
    ticket = reserve()
    ledger.settle(ticket.uid, result(ticket, 1, charge_c=1e300))
    ledger.acknowledge("wire-1", "region-1", reason="seen")

    assert ledger.usage("wire-1", "region-1").left_e_per_nm2 == 0
    assert "no current fits" in refused(lambda: reserve(counter=1))


# Series


def test_a_series_reserves_all_and_its_tickets_draw_on_it(ledger: DoseLedger) -> None:
    asked = [exposure(tilt_deg=t) for t in range(-60, 61, 5)]
    series = ledger.open_series(asked, current_limit_pa=165.0)
    envelope = ledger.usage("wire-1", "region-1").reserved_e_per_nm2
    each = worst_fluence_e_per_nm2(exposure(), 165.0)
    assert envelope == pytest.approx(25 * each)

    ticket = ledger.reserve(
        asked[3],
        current_pa=150,
        current_limit_pa=165,
        boot_id=BOOT,
        counter=0,
        series=series,
    )

    used = ledger.usage("wire-1", "region-1")
    assert used.reserved_e_per_nm2 == envelope
    assert used.unsettled_e_per_nm2 == ticket.reserved_e_per_nm2

    settled = ledger.settle(ticket.uid, result(ticket, 1))
    assert ledger.usage("wire-1", "region-1").reserved_e_per_nm2 == pytest.approx(
        24 * each
    )

    ledger.close_series(series)
    ledger.close_series(series)

    used = ledger.usage("wire-1", "region-1")
    assert used.reserved_e_per_nm2 == 0
    assert used.settled_e_per_nm2 == settled.fluence_e_per_nm2


def test_two_series_never_get_more_than_there_is(ledger: DoseLedger) -> None:
    n = int(1e7 / worst_fluence_e_per_nm2(exposure(), 165.0))
    first = ledger.open_series([exposure()] * (n - 5), current_limit_pa=165.0)

    refused(lambda: ledger.open_series([exposure()] * 6, current_limit_pa=165.0))
    ledger.open_series([exposure()] * 5, current_limit_pa=165.0)
    ledger.close_series(first)
    ledger.open_series([exposure()] * (n - 5), current_limit_pa=165.0)


def test_a_series_may_take_the_limit_to_its_last_thousandth(
    ledger: DoseLedger,
) -> None:
    asked = [exposure(n_frames=n) for n in (1, 2, 3, 5, 8)]
    series = ledger.open_series(asked, current_limit_pa=165.0)
    held = ledger.usage("wire-1", "region-1").reserved_e_per_nm2
    ledger.set_limit("wire-1", "region-1", held, reason="a test")

    for n, one in enumerate(reversed(asked)):
        ticket = ledger.reserve(
            one,
            current_pa=150,
            current_limit_pa=165,
            boot_id=BOOT,
            counter=n,
            series=series,
        )
        ledger.settle(ticket.uid, result(ticket, n + 1, charge_c=ticket.max_charge_c))

    used = ledger.usage("wire-1", "region-1")
    assert used.settled_e_per_nm2 <= held
    assert used.settled_e_per_nm2 == pytest.approx(held, abs=6e-3)


def test_an_exposure_that_was_not_declared_is_refused(ledger: DoseLedger) -> None:
    series = ledger.open_series([exposure()], current_limit_pa=165.0)

    def draw(asked: Exposure, current_pa: float = 150.0) -> Ticket:
        return ledger.reserve(
            asked,
            current_pa=current_pa,
            current_limit_pa=1.1 * current_pa,
            boot_id=BOOT,
            counter=0,
            series=series,
        )

    declared = (
        "record of wire-1, region-1: 512 x 512 px at 2.134 nm, 19.767 us, 22 frames, "
        "flyback blanked"
    )
    assert refused(lambda: draw(exposure(purpose="focus", n_frames=1))) == (
        "dose: not an exposure of this series: focus of wire-1, region-1: 512 x 512 px "
        f"at 2.134 nm, 19.767 us, 1 frame, flyback blanked; declared are 1 x {declared}"
        ". Declare it in the plan's worst case"
    )
    for changed in (
        {"specimen": "wire-2"},
        {"region": "region-2"},
        {"n_frames": 23},
        {"pixel_nm": 2.0},
        {"dwell_s": 2e-5},
        {"flyback_s": 1e-3},
        {"flyback_blanked": False},
        {"tilt_deg": 7.0},
        {"offset_y_nm": 3.0},
        {"offset_x_nm": 3.0},
        {"rotation_deg": 3.0},
        {"beam_diameter_nm": 3.0},
    ):
        assert "not an exposure" in refused(partial(draw, exposure(**changed)))
    assert (
        "the current has risen to 166 pA, the series was reserved for up to 165 pA"
        in (refused(lambda: draw(exposure(), current_pa=166.0)))
    )

    # Tracking moves the field, and a margin counted anew changes nothing.
    ticket = draw(exposure(center_x_nm=12.0), current_pa=160.0)

    assert ticket.current_limit_pa == 165.0
    ledger.close_series(series)
    assert f"dose: series {series} is closed" in refused(lambda: draw(exposure()))
    with pytest.raises(LedgerError, match="series 'none' is not in this ledger"):
        ledger.close_series("none")


def test_what_is_taken_again_is_reserved_on_top_within_the_budget(
    ledger: DoseLedger,
) -> None:
    one = math.ceil(1000 * worst_fluence_e_per_nm2(exposure(), 165.0)) / 1000
    other = ledger.open_series([exposure()] * 3, current_limit_pa=165.0)
    series = ledger.open_series(
        [exposure()] * 2, current_limit_pa=165.0, budget_e_per_nm2=3.5 * one
    )

    def draw(counter: int, asked: Exposure | None = None) -> Ticket:
        return ledger.reserve(
            asked or exposure(),
            current_pa=150,
            current_limit_pa=165,
            boot_id=BOOT,
            counter=counter,
            series=series,
        )

    draw(0), draw(0)
    assert ledger.usage("wire-1", "region-1").reserved_e_per_nm2 == pytest.approx(
        5 * one
    )
    again = draw(0)
    assert ledger.usage("wire-1", "region-1").reserved_e_per_nm2 == pytest.approx(
        6 * one
    )

    # Another one: beyond the budget, even when the third has cost nothing yet.
    assert refused(lambda: draw(0)) == (
        "dose: specimen wire-1, region-1: this record exposure may cost 9.83e4 e/nm2 "
        "(1 exposure at up to 165 pA = 150 pA + 10 %), 4.92e4 e/nm2 of the series' "
        "budget of 3.44e5 e/nm2 is left; lower the measured current to 74.9 pA or "
        "less, scan fewer frames, or choose a larger pixel"
    )
    ledger.release(again.uid, reason="never armed", boot_id=BOOT, counter=0)
    assert ledger.usage("wire-1", "region-1").reserved_e_per_nm2 == pytest.approx(
        5 * one
    )
    # Nor may it spend what another series holds.
    ledger.set_limit("wire-1", "region-1", 5.5 * one, reason="a test")
    assert "is left (0 e/nm2 settled, 4.92e5 e/nm2 reserved)" in refused(
        lambda: draw(0)
    )
    ledger.close_series(other)
    draw(0)
    ledger.close_series(series)
    assert ledger.usage("wire-1", "region-1").reserved_e_per_nm2 == pytest.approx(
        3 * one
    )


def test_a_released_ticket_goes_back_to_its_series(ledger: DoseLedger) -> None:
    series = ledger.open_series([exposure()], current_limit_pa=165.0)
    before = ledger.usage("wire-1", "region-1")

    for _ in range(3):
        ticket = ledger.reserve(
            exposure(),
            current_pa=150,
            current_limit_pa=165,
            boot_id=BOOT,
            counter=0,
            series=series,
        )
        ledger.release(ticket.uid, reason="arming refused", boot_id=BOOT, counter=0)
        assert ledger.usage("wire-1", "region-1") == before

    ledger.close_series(series)
    assert ledger.usage("wire-1", "region-1").reserved_e_per_nm2 == 0


def test_a_ticket_outlives_its_series(ledger: DoseLedger) -> None:
    series = ledger.open_series([exposure()] * 2, current_limit_pa=165.0)
    ticket = ledger.reserve(
        exposure(),
        current_pa=150,
        current_limit_pa=165,
        boot_id=BOOT,
        counter=0,
        series=series,
    )
    ledger.close_series(series)

    used = ledger.usage("wire-1", "region-1")
    assert used.reserved_e_per_nm2 == ticket.reserved_e_per_nm2

    ledger.release(ticket.uid, reason="never armed", boot_id=BOOT, counter=0)
    assert ledger.usage("wire-1", "region-1").reserved_e_per_nm2 == 0


def test_an_over_charge_is_not_made_good_by_the_envelope(ledger: DoseLedger) -> None:
    """After an over-charge the rest of a full series doesn't fit any more."""
    asked = [exposure()] * 3
    series = ledger.open_series(asked, current_limit_pa=165.0)
    held = ledger.usage("wire-1", "region-1").reserved_e_per_nm2
    ledger.set_limit("wire-1", "region-1", held, reason="a test")

    def draw(counter: int) -> Ticket:
        return ledger.reserve(
            exposure(),
            current_pa=150,
            current_limit_pa=165,
            boot_id=BOOT,
            counter=counter,
            series=series,
        )

    ticket = draw(0)
    ledger.settle(ticket.uid, result(ticket, 1, charge_c=1.5 * ticket.max_charge_c))
    ledger.acknowledge("wire-1", "region-1", reason="seen")
    second = draw(1)
    ledger.settle(second.uid, result(second, 2, charge_c=second.max_charge_c))

    assert "is left" in refused(lambda: draw(2))


# What is not known to be nothing stays in full


def test_release_needs_the_same_boot_and_a_counter_that_is_accounted_for(
    ledger: DoseLedger, reserve: Callable[..., Ticket]
) -> None:
    ticket = reserve(counter=4)

    with pytest.raises(LedgerError) as restarted:
        ledger.release(ticket.uid, reason="x", boot_id="boot-2", counter=0)
    with pytest.raises(LedgerError) as advanced:
        ledger.release(ticket.uid, reason="x", boot_id=BOOT, counter=5)
    with pytest.raises(LedgerError) as back:
        ledger.release(ticket.uid, reason="x", boot_id=BOOT, counter=3)

    start = f"dose: ticket {ticket.uid} can't be released, it stays in full: "
    assert str(restarted.value) == (
        f"{start}beam was restarted since (boot id boot-1, now boot-2) and can't say "
        "what it did; run: cryoline dose reconcile"
    )
    assert str(advanced.value) == (
        f"{start}beam has made exposure 5 since, which this ledger does not know; "
        "run: cryoline dose reconcile"
    )
    assert "reads 3, after 4 under the same boot id: it has lost count" in str(
        back.value
    )
    assert ledger.unsettled() == [ticket]

    other = reserve(counter=4)
    ledger.settle(other.uid, result(other, 5))
    ledger.release(ticket.uid, reason="not armed", boot_id=BOOT, counter=5)
    with pytest.raises(LedgerError, match="settled or released already"):
        ledger.release(ticket.uid, reason="not armed", boot_id=BOOT, counter=5)
    assert ledger.unsettled() == []


def test_a_restarted_instrument_with_open_tickets_gets_no_further_one(
    ledger: DoseLedger, reserve: Callable[..., Ticket]
) -> None:
    ticket = reserve(counter=7)

    with pytest.raises(LedgerError) as restarted:
        reserve(boot_id="boot-2", counter=0)
    with pytest.raises(LedgerError, match="reads 6, after 7 under the same boot id"):
        reserve(counter=6)

    assert str(restarted.value) == (
        "dose: beam was restarted (boot id boot-1, now boot-2) while 1 ticket was not "
        "settled: nothing is reserved until you have run: cryoline dose reconcile"
    )
    ledger.settle(ticket.uid, result(ticket, 8))
    reserve(boot_id="boot-2", counter=0)


def test_a_person_settles_what_no_log_knows_with_a_reason(
    ledger: DoseLedger, reserve: Callable[..., Ticket]
) -> None:
    full, known = reserve(), reserve()

    with pytest.raises(LedgerError, match="give a reason"):
        ledger.settle_by_hand(full.uid, reason=" ")
    with pytest.raises(LedgerError, match="nan C is no charge"):
        ledger.settle_by_hand(full.uid, charge_c=math.nan, reason="x")
    ledger.settle_by_hand(full.uid, reason="the log is lost")
    ledger.settle_by_hand(
        known.uid, charge_c=known.max_charge_c / 2, reason="read from the display"
    )

    used = ledger.usage("wire-1", "region-1")
    assert used.settled_e_per_nm2 == pytest.approx(1.5 * full.reserved_e_per_nm2)
    assert ledger.unsettled() == []
    # The log turns up after all: it is charged once.
    ledger.settle(full.uid, result(full, 1))
    assert ledger.usage("wire-1", "region-1") == used


def test_a_limit_is_only_ever_at_or_below_the_configured_one(
    ledger: DoseLedger, reserve: Callable[..., Ticket]
) -> None:
    ledger.set_limit("wire-1", "region-1", 5e4, reason="beam-sensitive SEI")
    assert ledger.usage("wire-1", "region-1").limit_e_per_nm2 == 5e4
    assert "of 5.00e4 e/nm2 is left" in refused(reserve)
    ledger.set_limit("wire-1", "region-1", 1e7, reason="it was not")
    reserve()

    message = refused(lambda: ledger.set_limit("wire-1", "region-1", 1.1e7, reason="x"))
    assert "of 1.1e+07 e/nm2 is not above 0 and up to 1.00e7 e/nm2" in message
    refused(lambda: ledger.set_limit("wire-1", "region-1", math.nan, reason="x"))
    with pytest.raises(LedgerError, match="give a reason"):
        ledger.set_limit("wire-1", "region-1", 1e6, reason="")


def test_only_what_is_blocked_can_be_acknowledged(ledger: DoseLedger) -> None:
    with pytest.raises(LedgerError, match="region-1 is not blocked"):
        ledger.acknowledge("wire-1", "region-1", reason="x")


def test_the_history_says_what_happened_in_order(
    ledger: DoseLedger, reserve: Callable[..., Ticket]
) -> None:
    series = ledger.open_series([exposure()] * 2, current_limit_pa=165.0)
    first = reserve(series=series)
    ledger.settle(first.uid, result(first, 1))
    second = reserve(series=series, counter=1)
    ledger.release(second.uid, reason="stage did not settle", boot_id=BOOT, counter=1)
    ledger.close_series(series)
    ledger.set_limit("wire-1", "region-1", 1e6, reason="enough")

    rows = ledger.history("wire-1")

    assert [row.kind for row in rows] == [
        "series-open",
        "reserve",
        "settle",
        "reserve",
        "release",
        "series-close",
        "limit",
    ]
    assert rows[4].body["reason"] == "stage did not settle"
    assert rows[2].body["result"]["charge_c"] == result(first, 1).charge_c
    assert len({row.uid for row in rows}) == len(rows)


def test_a_result_of_another_ticket_settles_nothing(
    ledger: DoseLedger, reserve: Callable[..., Ticket]
) -> None:
    one, other = reserve(), reserve()

    with pytest.raises(LedgerError, match=f"of ticket {other.uid}, not of {one.uid}"):
        ledger.settle(one.uid, result(other, 1))
    with pytest.raises(LedgerError, match="ticket 'nobody' is not in this ledger"):
        ledger.settle_by_hand("nobody", reason="x")
    assert len(ledger.unsettled()) == 2
