import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryoline.analysis.eds import (
    HE_2021,
    Events,
    Window,
    background_maps,
    element_maps,
    net_counts,
    windows_of,
)
from cryoline.analysis.errors import KernelInputError

CENTRES_EV = 10.0 * np.arange(0.5, 1024)


def line(window: Window, counts: float) -> np.ndarray:
    """A Gaussian line of so many counts, by quadrature."""
    sigma = window.fwhm_ev / np.sqrt(8 * np.log(2))
    shape = np.exp(-0.5 * ((CENTRES_EV - window.line_ev) / sigma) ** 2)
    return counts * shape / shape.sum()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 3000))
def test_every_count_is_in_the_map_of_its_window_and_pixel(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    y, x, channel = (
        rng.integers(0, 7, n),
        rng.integers(0, 5, n),
        rng.integers(0, 200, n),
    )

    maps = element_maps(Events(y, x, channel), HE_2021, (7, 5))

    energy_ev = 10.0 * channel + 5.0
    for window, counts in zip(HE_2021, maps.counts, strict=True):
        inside = (energy_ev >= window.low_ev) & (energy_ev < window.high_ev)
        wanted = np.zeros((7, 5))
        np.add.at(wanted, (y[inside], x[inside]), 1)
        assert (counts == wanted).all()
    assert maps.spectrum.sum() == n
    assert (maps.spectrum == np.bincount(channel, minlength=1024)).all()


def test_net_counts_are_those_put_in_above_a_sloping_continuum() -> None:
    wanted = {"Si": 12_000.0, "O": 4800.0, "F": 2900.0, "C": 1500.0}
    slope = 40.0 - 0.01 * CENTRES_EV  # the straight sides lose nothing on it
    level = np.where(CENTRES_EV < 1000, 30.0, slope)
    spectrum = level + sum(line(w, wanted[w.element]) for w in HE_2021)

    found = net_counts(spectrum, HE_2021)

    for window, net in zip(HE_2021, found.net, strict=True):
        inside = (CENTRES_EV >= window.low_ev) & (CENTRES_EV < window.high_ev)
        own = line(window, wanted[window.element])[inside].sum()
        assert net == pytest.approx(own, rel=0.01), window.element


def test_the_tail_of_a_strong_oxygen_line_is_not_taken_for_fluorine() -> None:
    oxygen = next(w for w in HE_2021 if w.element == "O")
    spectrum = 2.0 + line(oxygen, 1e6)

    found = net_counts(spectrum, HE_2021)

    fluorine = found.elements.index("F")
    assert found.gross[fluorine] - found.continuum[fluorine] > 500
    assert abs(found.net[fluorine]) < 50


def test_errors_are_those_of_counting() -> None:
    rng = np.random.default_rng(1)
    mean = 20.0 + sum(line(w, 2000.0) for w in HE_2021)
    found = [net_counts(rng.poisson(mean), HE_2021) for _ in range(400)]
    spread = np.std([f.net for f in found], axis=0)

    # 400 draws know a standard deviation to 3.5 %.
    assert found[0].net_sigma == pytest.approx(spread, rel=0.15)


def test_a_background_map_has_its_window_s_counts_and_lies_where_they_are() -> None:
    y, x = np.full(500, 20), np.full(500, 40)
    maps = element_maps(Events(y, x, np.full(500, 39)), HE_2021, (64, 64))

    spread = background_maps(maps, [100.0, 50.0, 0.0, 7.0], sigma_px=2.0)

    assert spread.sum((1, 2)) == pytest.approx([100.0, 50.0, 0.0, 7.0], rel=1e-5)
    assert np.unravel_index(spread[0].argmax(), (64, 64)) == (20, 40)


@pytest.mark.parametrize(
    ("events", "text"),
    [
        (Events([0], [64], [3]), r"events: x 64..64 is outside 0..63"),
        (Events([0], [0], [-1]), r"events: channel -1..-1 is outside 0..1023"),
        (Events([0, 1], [0], [3]), r"unequal rows: y 2, x 1, channel 1"),
    ],
)
def test_counts_outside_the_map_are_refused(events: Events, text: str) -> None:
    with pytest.raises(KernelInputError, match=text):
        element_maps(events, HE_2021, (64, 64))


def test_windows_that_share_channels_are_refused() -> None:
    twice = (HE_2021[0], HE_2021[0]._replace(element="P"))

    with pytest.raises(KernelInputError, match=r"window P \(1662..1818 eV\) overlaps"):
        element_maps(Events([0], [0], [0]), twice, (1, 1))


def test_a_run_may_ask_for_windows_of_its_own():
    asked = [window._asdict() for window in HE_2021]
    asked[0]["low_ev"] = 1700.0

    windows = windows_of(asked)

    assert windows[0] == HE_2021[0]._replace(low_ev=1700.0)
    assert windows[1:] == HE_2021[1:]
    assert windows_of(None) is HE_2021


def test_windows_that_are_none_or_of_others_are_refused():
    asked = [window._asdict() for window in HE_2021]

    with pytest.raises(KernelInputError, match="give one each of \\['Si', 'O'"):
        windows_of(asked[:2])
    with pytest.raises(KernelInputError, match="give element, low_ev, high_ev"):
        windows_of([{"element": "Si"}, *asked[1:]])
