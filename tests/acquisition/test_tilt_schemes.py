"""Orders of tilts by equality with their definitions, and what holds for all."""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryoline.acquisition.errors import PlanRefused
from cryoline.acquisition.tilt_schemes import (
    Scheme,
    alternate,
    bidirectional,
    continuous,
    cosine,
    dose_symmetric_grouped,
    swing,
)

EQUAL_STEPS: dict[str, Callable[..., Scheme]] = {
    "bidirectional": bidirectional,
    "grouped by 1": lambda *a, **k: dose_symmetric_grouped(*a, group=1, **k),
    "grouped by 3": lambda *a, **k: dose_symmetric_grouped(*a, group=3, **k),
    "swing": swing,
    "alternate": alternate,
}


def test_the_series_of_the_papers_has_25_tilts_with_the_start_once() -> None:
    scheme = bidirectional(60, -60, 5)

    assert scheme.angles_deg == (
        *(0, 5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60),
        *(-5, -10, -15, -20, -25, -30, -35, -40, -45, -50, -55, -60),
    )
    assert scheme.branches == (0,) * 13 + (1,) * 12


def test_groups_of_two_negative_side_first() -> None:
    scheme = dose_symmetric_grouped(-20, 20, 5, group=2)

    assert scheme.angles_deg == (0, -5, -10, 5, 10, -15, -20, 15, 20)
    assert scheme.branches == (0, 0, 0, 1, 1, 0, 0, 1, 1)


def test_alternate_changes_the_order_of_the_sides_at_each_distance() -> None:
    assert alternate(4, -4, 1).angles_deg == (0, 1, -1, -2, 2, 3, -3, -4, 4)


def test_swing_is_grouped_by_one() -> None:
    assert swing(-60, 55, 3).angles_deg == (
        dose_symmetric_grouped(-60, 55, 3, group=1).angles_deg
    )


def test_continuous_goes_down_as_well_as_up() -> None:
    assert continuous(-60, 60, 5).angles_deg == tuple(range(-60, 61, 5))
    assert continuous(10, -10, 5).angles_deg == (10, 5, 0, -5, -10)
    assert continuous(7, 7, 5).angles_deg == (7,)


def test_cosine_takes_shrinking_steps_and_returns_to_the_start() -> None:
    angles = cosine(60, -60, 10).angles_deg
    up, down = angles[:8], angles[8:]

    assert angles[0] == 0
    for a, b in pairwise(up):
        assert b - a == pytest.approx(10 * math.cos(math.radians(a)))
    assert down == tuple(-tilt for tilt in up[1:])


@pytest.mark.parametrize(
    ("end", "last"), [(61.6, 60), (63.29, 60), (63.4, 65), (64.99, 65), (65.0, 65)]
)
def test_an_end_is_reached_within_a_third_of_a_step(end: float, last: float) -> None:
    """The rule: sg t < sg E + 0.34 s, so 65 deg needs E > 63.3 deg at 5 deg steps."""
    assert max(bidirectional(end, -60, 5).angles_deg) == last
    assert min(bidirectional(-end, 60, 5).angles_deg) == -last
    assert max(continuous(0, end, 5).angles_deg) == last


def test_cosine_passes_its_end_by_a_third_of_the_step_there() -> None:
    after = cosine(80, -80, 10).angles_deg
    ninth, tenth = after[8], after[9]
    step = tenth - ninth

    assert max(cosine(tenth - 0.33 * step, -20, 10).angles_deg) == tenth
    assert max(cosine(tenth - 0.35 * step, -20, 10).angles_deg) == ninth


@given(
    name=st.sampled_from(sorted(EQUAL_STEPS)),
    start=st.integers(-20, 20),
    up=st.floats(1, 60),
    down=st.floats(1, 60),
    step=st.floats(0.5, 20),
    up_first=st.booleans(),
)
def test_each_angle_is_visited_once_between_the_ends_outwards_on_both_sides(
    name: str, start: int, up: float, down: float, step: float, up_first: bool
) -> None:
    ends = (start + up, start - down)
    scheme = EQUAL_STEPS[name](
        *(ends if up_first else ends[::-1]), step, start_deg=start
    )
    angles = scheme.angles_deg

    assert angles[0] == start
    assert len(set(angles)) == len(angles)
    assert start - down - 0.34 * step <= min(angles)
    assert max(angles) <= start + up + 0.34 * step
    for sign, reach in ((1, up), (-1, down)):
        side = [sign * (a - start) for a in angles[1:] if sign * (a - start) > 0]
        assert side == sorted(side)  # each side from the start to its end
        assert side == pytest.approx([(k + 1) * step for k in range(len(side))])
        assert (len(side) + 1) * step > reach  # and none is missing
    first = 1 if up_first else -1
    on_first = [first * (a - start) >= 0 for a in angles]
    assert [branch == 0 for branch in scheme.branches] == on_first


@given(group=st.integers(1, 12), step=st.floats(1, 10))
def test_a_side_is_left_only_after_a_whole_group(group: int, step: float) -> None:
    scheme = dose_symmetric_grouped(60, -60, step, group=group)
    lengths: list[int] = []
    last = None
    for branch in scheme.branches[1:]:
        if branch != last:
            lengths.append(0)
        lengths[-1] += 1
        last = branch

    assert scheme.branches[1] == 0
    assert set(lengths[:-2]) <= {group}
    assert max(lengths) <= group
    assert abs(scheme.branches.count(0) - scheme.branches.count(1) - 1) == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: bidirectional(60, -60, 0),
            "bidirectional: step_deg = 0 deg; give more than 0 deg",
        ),
        (
            lambda: continuous(-60, 60, math.nan),
            "continuous: step_deg = nan deg; give more than 0 deg",
        ),
        (
            lambda: cosine(60, -60, -5),
            "cosine: step_at_zero_deg = -5 deg; give more than 0 deg",
        ),
        (
            lambda: alternate(60, 10, 5),
            "alternate: the ends 60 and 10 deg do not lie on both sides of the start, "
            "0 deg; choose a start between them, or a continuous series",
        ),
        (
            lambda: swing(60, -60, 5, start_deg=60),
            "swing: the ends 60 and -60 deg do not lie on both sides of the start, "
            "60 deg; choose a start between them, or a continuous series",
        ),
        (
            lambda: bidirectional(math.nan, -60, 5),
            "bidirectional: first_end_deg = nan deg is not between -90 and 90 deg; "
            "choose an angle that the holder can reach",
        ),
        (
            lambda: continuous(-60, math.inf, 5),
            "continuous: to_deg = inf deg is not between -90 and 90 deg; "
            "choose an angle that the holder can reach",
        ),
        (
            lambda: bidirectional(60, -60, 1e-6),
            "bidirectional: step_deg = 1e-06 deg makes 120000000 tilts over 120 deg, "
            "more than 2000; choose a larger step",
        ),
        (
            lambda: dose_symmetric_grouped(60, -60, 5, group=0),
            "dose_symmetric_grouped: group = 0; "
            "give a whole number of tilts, 1 or more",
        ),
        (
            lambda: dose_symmetric_grouped(60, -60, 5, group=1.5),  # type: ignore[arg-type]
            "dose_symmetric_grouped: group = 1.5; "
            "give a whole number of tilts, 1 or more",
        ),
        (
            lambda: bidirectional(89, -60, 7.55),
            "bidirectional: a tilt = 90.6 deg is not between -90 and 90 deg; "
            "choose an angle that the holder can reach",
        ),
        (
            lambda: Scheme(name="mine", parameters={}, angles_deg=()),
            "mine: 0 angles and 0 branches; "
            "give one branch for each of 1 or more angles",
        ),
    ],
)
def test_an_order_that_cant_be_visited_is_refused(
    make: Callable[[], Scheme], message: str
) -> None:
    with pytest.raises(PlanRefused) as caught:
        make()

    assert str(caught.value) == message


def test_a_scheme_of_ones_own_is_one_branch() -> None:
    scheme = Scheme(name="mine", parameters={}, angles_deg=(0, 30, -30, 0))

    assert scheme.branches == (0, 0, 0, 0)
    assert scheme.metadata() == {
        "scheme": {"name": "mine", "parameters": {}},
        "angles_deg": [0, 30, -30, 0],
    }
