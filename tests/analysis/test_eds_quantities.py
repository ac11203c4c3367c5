"""Weight per cent against the phantom's atoms, an independent formula, many draws."""

from dataclasses import replace

import numpy as np
import pytest

from cryoline.analysis.eds import HE_2021, NetCounts, net_counts
from cryoline.analysis.eds_quadrants import quadrant_counts
from cryoline.analysis.eds_quantities import (
    SIMULATED_STANDARD,
    KFactors,
    k_factors,
    k_factors_of,
    running_composition,
    weight_percent,
)
from cryoline.analysis.errors import KernelInputError
from cryoline.sim.eds_events import EdsModel
from cryoline.sim.phantom import make_wire
from cryoline.sim.specimen_voxels import SpecimenVoxels, list_voxels
from cryoline.sim.tilt_render import render_tilt_series, undrifted_view

ATOMIC_WEIGHT = {"Si": 28.085, "O": 15.999, "F": 18.998, "C": 12.011}
ELEMENTS = tuple(ATOMIC_WEIGHT)
ELECTRON_C = 1.602176634e-19


def measured(counts, sigma=None) -> NetCounts:
    """Net counts without a background, their errors those of counting."""
    counts = np.asarray(counts, float)
    variance = counts if sigma is None else np.asarray(sigma, float) ** 2
    zero = np.zeros(4)
    return NetCounts(
        ELEMENTS, counts, zero, counts, np.sqrt(variance), zero, np.diag(variance)
    )


@pytest.fixture(scope="module")
def standard():
    """A film of as many atoms of each element, as the simulated detector counts it."""
    shape = (12, 120, 120)
    place = np.argwhere(np.ones(shape, bool)).astype(np.int16)
    density = np.tile(np.array([20, 20, 20, 20, 0], np.float32), (len(place), 1))
    film = SpecimenVoxels(
        place, density, np.full(len(place), 2.0, np.float32), shape, 4.0
    )
    view = undrifted_view(0.0, width_px=128, height_px=128, n_frames=10, seed=(5, 0))
    area_nm2 = (128 * view.pixel_nm) ** 2
    charge_c = np.full(10, 1e5 * ELECTRON_C * area_nm2)  # 1e6 e/nm2 in all
    events = EdsModel(film).render(replace(view, frame_charge_c=charge_c))
    return k_factors(net_counts(events.spectrum, HE_2021), ATOMIC_WEIGHT)


@pytest.fixture(scope="module")
def tilts():
    """(atoms of each element, exposures at 0 and -60 deg) of a wire, dose of He."""
    voxels = list_voxels(make_wire(seed=3))
    rendered = render_tilt_series(
        voxels, angles_deg=(0.0, -60.0), fluence_e_per_nm2=1.97e6 * 2 / 25
    )
    return voxels.atoms[:4], [tilt.eds for tilt in rendered]


def spectra(rows, channel, count):
    return np.array([np.bincount(channel[rows == k], minlength=1024)
                     for k in range(count)])  # fmt: skip


def test_the_standard_gives_the_factors_that_stand_in_the_module(standard) -> None:
    error = np.hypot(standard.sigma, SIMULATED_STANDARD.sigma)[1:]
    distance = (standard.factor - SIMULATED_STANDARD.factor)[1:] / error

    assert standard.factor[0] == 1.0
    assert np.abs(distance).max() < 3.5


def test_a_wire_s_weight_percent_are_those_of_its_atoms(tilts) -> None:
    atoms, (flat, _) = tilts
    weights = atoms * list(ATOMIC_WEIGHT.values())
    truth = 100 * weights / weights.sum()

    found = weight_percent(net_counts(flat.spectrum, HE_2021), SIMULATED_STANDARD)

    error = np.hypot(found.sigma, found.standard_sigma)
    assert (np.abs(found.weight_percent - truth) < 3.5 * error).all()
    # Known to less than 1 %, or the test above says little.
    assert error.max() < 0.6


def test_it_is_the_formula_of_cliff_and_lorimer_for_each_pair() -> None:
    counts = np.array([9000.0, 4000.0, 2500.0, 900.0])

    found = weight_percent(measured(counts), SIMULATED_STANDARD).weight_percent

    for one in range(4):
        for two in range(4):
            k = SIMULATED_STANDARD.factor[one] / SIMULATED_STANDARD.factor[two]
            ratio = k * counts[one] / counts[two]
            assert found[one] / found[two] == pytest.approx(ratio, rel=1e-12)
    assert found.sum() == pytest.approx(100.0)


def test_the_error_is_how_far_many_countings_spread() -> None:
    rng = np.random.default_rng(2)
    mean = 6.0 + np.zeros(1024)
    for window, counts in zip(HE_2021, (3000, 1200, 700, 400), strict=True):
        sigma_ev = window.fwhm_ev / 2.3548
        shape = np.exp(
            -0.5 * ((10 * np.arange(0.5, 1024) - window.line_ev) / sigma_ev) ** 2
        )
        mean += counts * shape / shape.sum()
    found = [
        weight_percent(net_counts(rng.poisson(mean), HE_2021), SIMULATED_STANDARD)
        for _ in range(500)
    ]

    spread = np.std([one.weight_percent for one in found], axis=0)
    # 500 draws know a standard deviation to 3.2 %.
    said = np.mean([one.sigma for one in found], axis=0)
    assert said == pytest.approx(spread, rel=0.12)


def test_the_error_of_the_standard_is_kept_apart() -> None:
    factors = replace(SIMULATED_STANDARD, sigma=np.array([0.0, 0.05, 0.0, 0.0]))
    rng = np.random.default_rng(3)
    counts = np.array([9e6, 4e6, 2.5e6, 9e5])

    found = weight_percent(measured(counts), factors)

    drawn = []
    for change in rng.normal(0.0, 0.05, 2000):
        factor = factors.factor + np.array([0.0, change, 0.0, 0.0])
        other = replace(factors, factor=factor)
        drawn.append(weight_percent(measured(counts), other).weight_percent)
    assert found.standard_sigma == pytest.approx(np.std(drawn, axis=0), rel=0.1)
    assert (found.sigma < 0.1 * found.standard_sigma).all()


def test_silicon_is_stable_after_the_time_of_the_paper(tilts) -> None:
    _, (flat, shadowed) = tilts
    found = []
    for events in (flat, shadowed):
        frames = spectra(events.frame, events.channel, events.n_frames)
        live_s = events.live_time_s.mean(axis=1)
        found.append(running_composition(frames, live_s, HE_2021, SIMULATED_STANDARD))

    free, cut = found
    # 100 s in He et al., SI Fig. 24; here to half a per cent by weight.
    assert 50 < free.stable_after_s("Si", 0.5) <= 105
    assert np.isnan(cut.stable_after_s("Si", 0.5))  # two quadrants see too little
    # What it would take: the error falls with the root of the time.
    assert cut.time_for_s("Si", 0.5) == pytest.approx(
        cut.time_s[-1] * (cut.sigma[-1, 0] / 0.5) ** 2
    )
    quarter = len(free.time_s) // 4
    predicted = free.sigma[quarter, 0] * np.sqrt(free.time_s[quarter] / free.time_s[-1])
    assert free.sigma[-1, 0] == pytest.approx(predicted, rel=0.1)
    assert free.sigma_after("Si", 4.0) == pytest.approx(free.sigma[-1, 0] / 2)


def test_two_of_four_quadrants_count_as_four_would(tilts) -> None:
    _, (flat, shadowed) = tilts
    free, cut = (
        quadrant_counts(
            spectra(one.quadrant, one.channel, 4), one.live_time_s.sum(axis=0), HE_2021
        )
        for one in (flat, shadowed)
    )

    assert free.live_quadrants == pytest.approx(4.0, abs=0.1)
    assert cut.live_quadrants == pytest.approx(2.0, abs=0.05)
    assert cut.in_view == pytest.approx([0, 1, 1, 0], abs=0.05)
    # The whole wire lies in the field at both tilts: the same matter.
    error = np.hypot(free.whole_per_s_sigma, cut.whole_per_s_sigma)
    assert (np.abs(free.whole_per_s - cut.whole_per_s) < 4 * error).all()
    assert free.whole_per_s[0] > 50 * error[0]


def test_a_quadrant_that_is_busy_counts_by_its_live_time() -> None:
    mean = np.zeros(1024)
    mean[166:181] = 400.0  # in the window of silicon
    live_s = np.array([100.0, 100.0, 50.0, 0.0])
    counts = np.outer(live_s / 100, mean)

    found = quadrant_counts(counts, live_s, HE_2021)

    assert found.in_view.tolist() == [1.0, 1.0, 1.0, 0.0]
    one = found.net[0, 0] / 100.0
    assert found.whole_per_s[0] == pytest.approx(4 * one)
    assert np.isnan(found.net_per_s[3, 0])


def test_nothing_counted_is_no_composition() -> None:
    found = weight_percent(measured(np.zeros(4)), SIMULATED_STANDARD)

    assert np.isnan(found.weight_percent).all()
    assert np.isnan(found.sigma).all()


def test_a_net_below_zero_is_not_cut_off() -> None:
    found = weight_percent(
        measured([1e4, 3e3, -20.0, 1e3], sigma=[100, 60, 30, 40]), SIMULATED_STANDARD
    )

    assert -1.0 < found.weight_percent[2] < 0.0
    assert found.weight_percent[2] > -3 * found.sigma[2]


def test_a_run_may_bring_the_factors_of_its_detector() -> None:
    asked = {"Si": [1, 0], "O": [1.3, 0.1], "F": [1.4, 0.1], "C": [2, 0.2],
             "source": "SiO2 film of May"}  # fmt: skip

    factors = k_factors_of(asked, ELEMENTS)

    assert factors.factor.tolist() == [1.0, 1.3, 1.4, 2.0]
    assert factors.source == "SiO2 film of May"
    with pytest.raises(KernelInputError, match=r"give \[factor, sigma\] of each of Si"):
        k_factors_of({"Si": [1, 0]}, ELEMENTS)
    with pytest.raises(KernelInputError, match="factors have to be above 0"):
        k_factors_of({**asked, "O": [-1, 0]}, ELEMENTS)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: k_factors(measured([9e3, 4e3, 2e3, 9e2]), {"Si": 1.0}),
            "give a weight above 0 of each of Si, O, F, C",
        ),
        (
            lambda: k_factors(
                measured([9e3, 4e3, 2e3, 9e2]), ATOMIC_WEIGHT, reference="Ge"
            ),
            "the reference Ge among them",
        ),
        (
            lambda: k_factors(measured([9e3, 4.0, 2e3, 9e2]), ATOMIC_WEIGHT),
            "O does not stand out by five standard deviations; count longer",
        ),
        (
            lambda: weight_percent(
                measured([1, 1, 1, 1]),
                KFactors(("Si", "O"), np.ones(2), np.zeros(2), "two"),
            ),
            "counts of Si, O, F, C, factors of Si, O",
        ),
        (
            lambda: running_composition(
                np.zeros((3, 1024)), [1.0], HE_2021, SIMULATED_STANDARD
            ),
            "give one live time a spectrum",
        ),
        (
            lambda: quadrant_counts(np.zeros((4, 1024)), [1, 1, 1, -1], HE_2021),
            "give 0 s or more",
        ),
    ],
)
def test_what_can_t_be_taken_is_refused(call, text: str) -> None:
    with pytest.raises(KernelInputError, match=text):
        call()
