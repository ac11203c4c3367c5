import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryoline.sim.clock import ClockMode, SimClock
from cryoline.sim.errors import RefusedError


class Wall:
    """A wall clock that a test moves."""

    def __init__(self) -> None:
        self.time_s = 100.0

    def __call__(self) -> float:
        return self.time_s


def test_free_clock_runs_at_its_factor() -> None:
    wall = Wall()
    clock = SimClock(factor=1000.0, monotonic=wall)
    wall.time_s += 2.0
    assert clock.now() == pytest.approx(2000.0)


@given(
    st.lists(
        st.tuples(
            st.floats(0.0, 10.0), st.floats(0.1, 1e6), st.sampled_from(list(ClockMode))
        ),
        max_size=20,
    )
)
def test_time_never_jumps_when_factor_or_mode_changes(
    changes: list[tuple[float, float, ClockMode]],
) -> None:
    wall = Wall()
    clock = SimClock(monotonic=wall)
    for elapsed_s, factor, mode in changes:
        wall.time_s += elapsed_s
        before_s = clock.now()
        clock.set_factor(factor)
        assert clock.now() == before_s
        clock.set_mode(mode)
        assert clock.now() == before_s


def test_stepped_clock_stands_still_until_advanced() -> None:
    wall = Wall()
    clock = SimClock(mode=ClockMode.STEPPED, monotonic=wall)
    wall.time_s += 50.0
    assert clock.now() == 0.0
    clock.advance_to(12.5)
    assert clock.now() == 12.5


def test_advancing_a_free_clock_is_refused_with_what_to_do() -> None:
    with pytest.raises(RefusedError) as refusal:
        SimClock().advance_to(1.0)
    assert str(refusal.value) == (
        "clock: the time can't be advanced while it runs free; "
        "set Mode to stepped first"
    )


def test_time_can_not_be_advanced_into_the_past() -> None:
    clock = SimClock(mode=ClockMode.STEPPED)
    clock.advance_to(10.0)
    with pytest.raises(RefusedError, match=r"9 s lies before the present 10 s"):
        clock.advance_to(9.0)


@pytest.mark.parametrize("factor", [0.0, 0.09, 1.1e6, float("nan")])
def test_factor_beyond_its_limits_is_refused(factor: float) -> None:
    with pytest.raises(RefusedError, match=r"is outside 0.1..1e\+06"):
        SimClock(factor=factor)
