"""Li/Si of plasmons: the seed's ends, the simulator's electrons, the density trap."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryoline.analysis.eels import li_per_si
from cryoline.analysis.errors import KernelInputError
from cryoline.sim.eels_spectrum import plasmon_ev


def test_the_ends_are_silicon_and_li44_si() -> None:
    found = li_per_si([16.83, 12.74])

    assert found.ratio == pytest.approx([0.0, 4.4], abs=0.01)
    assert found.is_within_limits.all()


def test_between_the_ends_it_is_within_005_ev_of_free_electrons() -> None:
    lithium = np.linspace(0.001, 4.39, 100)
    energy_ev = plasmon_ev(lithium)

    found = li_per_si(np.clip(energy_ev, 12.74, 16.83), np.full(100, 0.05))

    # ratio_sigma is what 0.05 eV stand for; the slope changes a little within them.
    assert (np.abs(found.ratio - lithium) < 1.2 * found.ratio_sigma).all()


@given(st.floats(12.74, 16.83), st.floats(12.74, 16.83))
def test_less_energy_is_more_lithium(one, two) -> None:
    low, high = sorted([one, two])
    found = li_per_si([low, high])

    assert 4.4 >= found.ratio[0] >= found.ratio[1] >= 0.0


@pytest.mark.parametrize("energy_ev", [12.73, 16.84, 0.0, -3.0, np.nan, np.inf])
def test_beyond_the_limits_there_is_no_ratio(energy_ev) -> None:
    found = li_per_si(energy_ev, 0.01)

    assert np.isnan(found.ratio)
    assert np.isnan(found.ratio_sigma)
    assert not found.is_within_limits
    assert not found.may_be_density


@pytest.mark.parametrize(
    ("energy_ev", "ratio"), [(16.62, 0.06), (16.12, 0.21), (15.80, 0.32)]
)
def test_delithiated_silicon_is_not_taken_for_lithium_unflagged(
    energy_ev, ratio
) -> None:
    # S2 found these energies after delithiation, and no lithium there.
    found = li_per_si(energy_ev)

    assert found.ratio == pytest.approx(ratio, abs=0.01)
    assert found.may_be_density
    density = float(found.density_without_lithium)
    assert plasmon_ev(0.0, density) == pytest.approx(energy_ev)


def test_a_thin_lithiated_place_looks_richer_and_only_the_doc_can_say_so() -> None:
    whole, porous = li_per_si(plasmon_ev([1.8, 1.8], [1.0, 0.95])).ratio

    assert whole == pytest.approx(1.8, abs=0.1)
    assert porous > whole + 0.3


def test_errors_follow_the_slope() -> None:
    found = li_per_si([16.0, 13.0], [0.02, 0.02])
    moved = li_per_si([16.02, 13.02]).ratio

    assert found.ratio_sigma == pytest.approx(found.ratio - moved, rel=0.03)
    assert np.isnan(li_per_si(16.0).ratio_sigma)


def test_errors_of_another_shape_are_refused() -> None:
    with pytest.raises(KernelInputError, match=r"energy_sigma_ev \(3,\) doesn't fit"):
        li_per_si([16.0, 15.0], [0.1, 0.1, 0.1])
