"""Rows on X-ray counts: events into maps, and the windows of a dense cube."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from interleaved import Row, compare

from cryoline.analysis.eds import HE_2021, Events, element_maps
from cryoline.analysis.eds_cube import cube_maps

__all__ = ["exactness", "rows"]

_SIDE, _EVENTS, _CHANNELS = 256, 6_000_000, 1024


def rows() -> list[Row]:
    """Compare with numpy's bincount, given the columns or half of the work; cubes.

    What `np.bincount` of "events" means is open, so all meanings are measured: the
    whole task from the columns; the dense cube of pixels and channels, from the columns
    and from an index that is there already; and the maps alone, from an index in which
    the look-up of windows and the choice of events are done beforehand.
    """
    found = []
    for order, goal in (("in scan order", 12.0), ("in no order", 4.0)):
        events = _events(is_ordered=order == "in scan order")
        dense, kept = _dense_index(events), _map_index(events)
        cube, maps = _SIDE * _SIDE * _CHANNELS, len(HE_2021) * _SIDE * _SIDE
        found += compare(
            f"EDS, {_EVENTS:.0e} events of 16 bits {order} -> maps and spectrum",
            partial(element_maps, events, HE_2021, (_SIDE, _SIDE)),
            {
                "numpy, the whole task": (partial(_bincount, events), 1.0, goal),
                "np.bincount, columns to a dense cube": (
                    partial(_into_dense_cube, events),
                    1.0,
                    goal,
                ),
                "np.bincount, ready index, dense cube": (
                    partial(np.bincount, dense, minlength=cube),
                    1.0,
                    goal,
                ),
                "np.bincount, ready index, maps only": (
                    partial(np.bincount, kept, minlength=maps),
                    1.0,
                    goal,
                ),
            },
        )
    counts = (
        np.random.default_rng(2).poisson(0.3, (192, 192, _CHANNELS)).astype(np.uint16)
    )
    return found + compare(
        "EDS, windows and background of a cube of 16 bits",
        lambda: cube_maps(counts, HE_2021),
        {
            "numpy, sums of slices": (lambda: _slices(counts), 1.0, 4.0),
            "exspy get_lines_intensity": (_exspy(counts), 1.0, 4.0),
        },
    )


def exactness() -> dict[str, float]:
    """Return the largest differences from numpy."""
    events = _events(is_ordered=False)
    maps = element_maps(events, HE_2021, (_SIDE, _SIDE))
    counts, spectrum = _bincount(events)
    cube = np.random.default_rng(3).poisson(0.3, (32, 32, _CHANNELS)).astype(np.uint16)
    ours, theirs = cube_maps(cube, HE_2021), _slices(cube)
    return {
        "eds_maps_against_bincount_counts": float(
            np.abs(maps.counts - counts.astype(np.int64)).max()
            + np.abs(maps.spectrum - spectrum).max()
        ),
        "eds_cube_against_numpy_counts": float(
            max(np.abs(a - b).max() for a, b in zip(ours[1:], theirs, strict=True))
        ),
    }


def _events(*, is_ordered: bool) -> Events:
    rng = np.random.default_rng(1)
    third = _EVENTS // 3
    lines = [rng.normal(52, 4, third), rng.normal(174, 4, third)]
    channel = np.concatenate([*lines, rng.exponential(200, third)]).astype(int)
    channel = rng.permutation(channel % _CHANNELS)
    pixel = rng.integers(0, _SIDE * _SIDE, channel.size)
    if is_ordered:
        pixel.sort()
    y, x = np.divmod(pixel, _SIDE)
    return Events(*(column.astype(np.uint16) for column in (y, x, channel)))


def _bincount(events: Events) -> tuple[np.ndarray, np.ndarray]:
    """All of the task as numpy does it, from the columns to maps and spectrum."""
    shape = (len(HE_2021), _SIDE, _SIDE)
    flat = _map_index(events)
    counts = np.bincount(flat, minlength=int(np.prod(shape))).reshape(shape)
    return counts, np.bincount(np.asarray(events.channel), minlength=_CHANNELS)


def _dense_index(events: Events) -> np.ndarray:
    y, x, channel = (np.asarray(column) for column in events)
    return (y.astype(np.int64) * _SIDE + x) * _CHANNELS + channel


def _into_dense_cube(events: Events) -> np.ndarray:
    return np.bincount(_dense_index(events), minlength=_SIDE * _SIDE * _CHANNELS)


def _map_index(events: Events) -> np.ndarray:
    """Where each event counts in its map; those that count in none left out."""
    number = _classes()[np.asarray(events.channel)]
    kept = number >= 0
    y, x = (np.asarray(column)[kept] for column in (events.y, events.x))
    return (number[kept] * _SIDE + y) * _SIDE + x


def _classes() -> np.ndarray:
    classes = np.full(_CHANNELS, -1)
    middles = 10.0 * np.arange(0.5, _CHANNELS)
    for place, window in enumerate(HE_2021):
        classes[(middles >= window.low_ev) & (middles < window.high_ev)] = place
    return classes


def _exspy(cube: np.ndarray) -> Callable[[], Any]:
    """The same windows in exspy, which wants two of background for each line."""
    import hyperspy.api as hs

    signal = hs.signals.Signal1D(cube)
    signal.set_signal_type("EDS_TEM")
    axis = signal.axes_manager.signal_axes[0]
    axis.scale, axis.offset, axis.units = 0.01, 0.005, "keV"
    signal.set_microscope_parameters(beam_energy=300)
    elements = [window.element for window in HE_2021]
    signal.add_elements(elements)
    sides = []
    for window in HE_2021:
        (a, b), *rest = window.sides_ev
        c, d = rest[0] if rest else ((a + b) / 2, b)
        sides.append([0.001 * edge for edge in (a, b if rest else c, c, d)])
    windows = [[0.001 * w.low_ev, 0.001 * w.high_ev] for w in HE_2021]

    def work() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return signal.get_lines_intensity(
                [f"{element}_Ka" for element in elements],
                integration_windows=windows,
                background_windows=sides,
            )

    return work


def _slices(cube: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of slices, and straight lines through the means of the sides."""
    middles = 10.0 * np.arange(0.5, _CHANNELS)
    gross, continuum = [], []
    for window in HE_2021:
        edges = ((window.low_ev, window.high_ev), *window.sides_ev)
        spans = [np.searchsorted(middles, edge) for edge in edges]
        (first, last), *sides = spans
        gross.append(cube[..., first:last].sum(axis=-1, dtype=np.uint32))
        means = [
            cube[..., a:b].sum(axis=-1, dtype=np.uint32) / (b - a) for a, b in sides
        ]
        if window.degree == 0 or len(means) == 1:
            density = means[0]
        else:
            (low, high), centre = (
                [middles[a:b].mean() for a, b in sides],
                middles[first:last].mean(),
            )
            density = means[0] + (means[1] - means[0]) * (centre - low) / (high - low)
        continuum.append(np.maximum(density * (last - first), 0.0))
    return np.array(gross), np.array(continuum)
