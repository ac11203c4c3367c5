"""Events and cubes against numpy, to the count."""

import numpy as np
import pytest

from cryoline.analysis.eds import HE_2021, Events, element_maps, net_counts
from cryoline.analysis.eds_cube import cube_maps
from cryoline.analysis.errors import KernelInputError

RNG = np.random.default_rng


def test_a_cube_s_windows_are_those_of_each_spectrum() -> None:
    cube = RNG(1).poisson(3.0, (4, 5, 1024)).astype(np.uint16)

    maps = cube_maps(cube, HE_2021)

    for y, x in np.ndindex(4, 5):
        one = net_counts(cube[y, x], HE_2021)
        np.testing.assert_array_equal(maps.gross[:, y, x], one.gross)
        np.testing.assert_allclose(maps.continuum[:, y, x], one.continuum, rtol=1e-5)
    assert maps.elements == ("Si", "O", "F", "C")


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32, np.uint32])
def test_a_cube_and_its_events_give_the_same_maps(kind) -> None:
    cube = RNG(2).poisson(0.2, (3, 4, 1024)).astype(kind)
    y, x, channel = np.nonzero(cube)
    times = cube[y, x, channel]
    events = Events(*(np.repeat(column, times) for column in (y, x, channel)))

    maps = element_maps(events, HE_2021, (3, 4))

    np.testing.assert_array_equal(cube_maps(cube, HE_2021).gross, maps.counts)
    np.testing.assert_array_equal(cube.sum(axis=(0, 1)), maps.spectrum)


@pytest.mark.parametrize("kind", [np.uint16, np.int64, float])
def test_neither_the_kind_nor_the_order_of_events_matters(kind) -> None:
    columns = RNG(3).integers(0, 60, (3, 5000))
    expected = element_maps(Events(*columns), HE_2021, (60, 60))

    shuffled = RNG(4).permutation(columns, axis=1).astype(kind)
    found = element_maps(Events(*shuffled), HE_2021, (60, 60))

    np.testing.assert_array_equal(found.counts, expected.counts)
    np.testing.assert_array_equal(found.side_counts, expected.side_counts)


@pytest.mark.parametrize(
    ("cube", "text"),
    [
        (np.zeros((2, 3, 1024)), "3 axes of float64; give counts"),
        (np.zeros((3, 1024), np.uint16), "2 axes of uint16; give counts"),
        (np.zeros((2, 3, 99), np.uint16), r"window Si .* lies outside a cube of 99"),
    ],
)
def test_what_is_no_cube_is_refused(cube, text) -> None:
    with pytest.raises(KernelInputError, match=text):
        cube_maps(cube, HE_2021)
