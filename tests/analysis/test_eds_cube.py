"""Events and cubes against numpy, to the count."""

import numpy as np
import pytest

from cryoline.analysis.eds import (
    HE_2021,
    Events,
    Window,
    element_maps,
    net_counts,
)
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


def test_counters_that_come_full_around_carry() -> None:
    # More counts in one pixel than two bytes hold, and a byte's worth to the count.
    times = [(0, 0, 50, 70_001), (0, 1, 170, 256), (1, 1, 65, 255), (1, 0, 500, 1000)]
    rows = [(y, x, channel) for y, x, channel, n in times for _ in range(n)]
    columns = RNG(5).permutation(np.array(rows, np.uint16)).T

    maps = element_maps(Events(*columns), HE_2021, (2, 2))

    silicon, oxygen, fluorine, _ = maps.counts
    assert (oxygen[0, 0], silicon[0, 1], fluorine[1, 1]) == (70_001, 256, 255)
    assert maps.counts.sum() == 70_001 + 256 + 255
    assert maps.spectrum[500] == 1000


@pytest.mark.parametrize("windows", [6, 7, 8, 20])
def test_more_windows_take_longer_records(windows) -> None:
    many = [
        Window(f"E{n}", 100.0 + 20 * n, 120.0 + 20 * n, 0, 0, ((0.0, 20.0),), 0)
        for n in range(windows)
    ]
    y, x, channel = RNG(6).integers(0, (5, 7, 64), (4000, 3)).T

    maps = element_maps(Events(y, x, channel), many, (5, 7))

    for number, counts in enumerate(maps.counts):
        inside = (channel - 10) // 2 == number
        wanted = np.zeros((5, 7))
        np.add.at(wanted, (y[inside], x[inside]), 1)
        np.testing.assert_array_equal(counts, wanted)


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.int64])
@pytest.mark.parametrize("place", [0, 700, 800])
def test_a_negative_number_is_outside_however_large_the_map(kind, place) -> None:
    columns = np.zeros((3, 801), kind)
    columns[1, place] = -1

    with pytest.raises(KernelInputError, match=r"x -1\.\.0 is outside 0\.\.69999"):
        element_maps(Events(*columns), HE_2021, (1, 70_000))


def test_a_map_beyond_the_counters_is_refused() -> None:
    with pytest.raises(KernelInputError, match="4e9 is the limit; count parts of it"):
        element_maps(Events([0], [0], [0]), HE_2021, (2**15, 2**15))


def test_a_cube_s_channels_may_begin_below_zero_energy() -> None:
    cube = RNG(7).poisson(3.0, (2, 3, 300)).astype(np.uint16)
    axis = {"offset_ev": -95.0, "energy_per_channel_ev": 10.003}

    maps = cube_maps(cube, HE_2021, **axis)

    for y, x in np.ndindex(2, 3):
        one = net_counts(cube[y, x], HE_2021, **axis)
        np.testing.assert_array_equal(maps.gross[:, y, x], one.gross)
        np.testing.assert_allclose(maps.continuum[:, y, x], one.continuum, rtol=1e-5)
