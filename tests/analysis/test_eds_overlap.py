"""Lines in each other's way: drawn spectra whose contents are known."""

import numpy as np
import pytest

from cryoline.analysis.eds import HE_2021
from cryoline.analysis.eds_overlap import suspicions

CENTRES_EV = 10.0 * np.arange(0.5, 1024)
OF_HE = {277.4: 2000, 524.9: 6000, 676.8: 4000, 1739.7: 20_000}
"""Lines, eV, and their counts: C, O, F and Si."""


def drawn(lines, *, seed=0, level=2.0):
    """Counts of lines as wide as those of He et al.: 77 eV at O, 94 eV at Si."""
    mean = np.where(CENTRES_EV > 100, level, 0.0)
    for line_ev, counts in lines.items():
        fwhm_ev = np.interp(line_ev, [277.4, 524.9, 1739.7], [74.0, 77.0, 94.0])
        shape = np.exp(-4 * np.log(2) * ((CENTRES_EV - line_ev) / fwhm_ev) ** 2)
        mean = mean + counts * shape / shape.sum()
    return np.random.default_rng(seed).poisson(mean)


def said(spectrum, windows=HE_2021):
    return [f"{one.element}: {one.reason}" for one in suspicions(spectrum, windows)]


def test_the_four_elements_alone_raise_no_suspicion() -> None:
    found = [text for seed in range(20) for text in said(drawn(OF_HE, seed=seed))]

    assert found == []


@pytest.mark.parametrize(
    ("line_ev", "text"),
    [
        # 8 eV beyond the background window: nearly half of the line is in it.
        (2307.8, "Si: background window 2160 to 2300 eV lies on the line of S"),
        (1486.7, "Si: background window 1480 to 1600 eV lies on the line of Al"),
        (392.4, "O: background window 370 to 420 eV lies on the line of N"),
    ],
)
def test_a_line_on_a_background_window_is_named(line_ev, text) -> None:
    assert text in said(drawn({**OF_HE, line_ev: 3000}))


@pytest.mark.parametrize("line_ev", [1041.0, 1253.6])
def test_a_line_that_is_in_nobody_s_way_is_not(line_ev) -> None:
    assert said(drawn({**OF_HE, line_ev: 3000})) == []


def test_a_foreign_line_in_a_window_is_named() -> None:
    without_fluorine = {line: n for line, n in OF_HE.items() if line != 676.8}

    found = said(drawn({**without_fluorine, 705.0: 5000}))

    assert "F: the line of Fe L, 705 eV, reaches into it" in found


def test_a_background_that_is_a_line_leaves_less_than_nothing() -> None:
    found = said(drawn({1486.7: 50_000}))

    (below,) = [text for text in found if "below 0" in text]
    assert below.startswith("Si: net counts -")


def test_a_background_window_below_the_continuum_is_named() -> None:
    carbon = HE_2021[3]._replace(sides_ev=((60.0, 130.0), (370.0, 420.0)))

    (text,) = said(drawn({277.4: 2000}), [carbon])

    assert text == (
        "C: background window 60 to 130 eV reaches below 100 eV: there is no continuum"
    )
