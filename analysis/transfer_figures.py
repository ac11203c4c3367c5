"""The figure of a specimen's cold way: how warm it was, and in what vacuum."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from cryoline.analysis.errors import KernelInputError
from cryoline.analysis.figure_parts import LINE_COLOURS, new_figure, tidy

__all__ = ["LIMITS_DEGC", "LegSpan", "leg_spans", "transfer_timeline"]

LIMITS_DEGC: Final[Mapping[str, float]] = {"warning": -150.0, "stop": -140.0}
"""Where a specimen on its cold way is near to crystallising, and where it is lost."""

_LEG_SHADES: Final = ("#e3eaf2", "#f6f1e3")
_ALARM_COLOURS: Final = ("#e69f00", "#c1272d")
_NAMES_APART: Final = 0.042
"""[A] assumption: of the width; slanted names as near as this don't touch."""

_UNITS_S: Final = ((3600.0, "h"), (60.0, "min"), (1.0, "s"))


class LegSpan(NamedTuple):
    """A leg, and when it was walked, instrument time."""

    name: str
    begin_s: float
    end_s: float


def leg_spans(times_s: ArrayLike, legs: Sequence[str]) -> tuple[LegSpan, ...]:
    """Return the legs that a log's rows name one after the other.

    A row without a leg, "", lies between two. Raises KernelInputError if there is not
    one name a time.
    """
    times = np.asarray(times_s, float)
    if times.shape != (len(legs),):
        raise KernelInputError(
            f"legs: {len(legs)} names don't fit {times.size} times; give one a row"
        )
    starts = [i for i in range(len(legs)) if i == 0 or legs[i] != legs[i - 1]]
    return tuple(
        LegSpan(legs[first], float(times[first]), float(times[behind - 1]))
        for first, behind in pairwise([*starts, len(legs)])
        if legs[first]
    )


def transfer_timeline(
    times_s: ArrayLike,
    temperature_degc: Mapping[str, ArrayLike],
    pressure_mbar: Mapping[str, ArrayLike],
    legs: Sequence[LegSpan],
    limits: Mapping[str, float] = LIMITS_DEGC,
    *,
    limits_mbar: Mapping[str, float] | None = None,
    specimen: str | None = None,
) -> Figure:
    """Return temperatures and pressures on the way, legs shaded, alarms as lines.

    A reading that is not a number leaves a gap.

    times_s: (row,) instrument time, rising
    temperature_degc, pressure_mbar: by place, (row,); no pressures, no axis for them
    legs: see `leg_spans`
    limits, limits_mbar: alarm lines by what they mean, mildest first
    Raises KernelInputError if lengths differ, or nothing was measured.
    """
    times = np.asarray(times_s, float)
    if times.ndim != 1 or times.size < 2 or not (np.diff(times) >= 0).all():
        raise KernelInputError(
            "timeline: times_s must be two instrument times or more, rising"
        )
    if not temperature_degc:
        raise KernelInputError("timeline: give the temperature of one place at least")
    scale_s, unit = _unit(times[-1] - times[0])
    elapsed = (times - times[0]) / scale_s
    places = [
        *temperature_degc,
        *(p for p in pressure_mbar if p not in temperature_degc),
    ]
    colours = {p: LINE_COLOURS[i % len(LINE_COLOURS)] for i, p in enumerate(places)}
    panels = 2 if pressure_mbar else 1
    figure = new_figure(7.2, 1.4 + 2.1 * panels)
    grid = figure.add_gridspec(panels, 1)
    warm = tidy(figure.add_subplot(grid[0]))
    warm.set_ylabel("temperature / °C")
    _draw(warm, elapsed, temperature_degc, colours)
    _add_alarms(warm, limits, "°C")
    shaded = [warm]
    if pressure_mbar:
        gas = tidy(figure.add_subplot(grid[1], sharex=warm))
        gas.set_ylabel("pressure / mbar")
        gas.set_yscale("log")
        _draw(gas, elapsed, pressure_mbar, colours)
        _add_alarms(gas, limits_mbar or {}, "mbar")
        warm.tick_params(labelbottom=False)
        shaded.append(gas)
    shaded[-1].set_xlim(0.0, elapsed[-1])
    shaded[-1].set_xlabel(f"instrument time / {unit}   (0 is {times[0]:.0f} s)")
    spans = {
        leg: ((leg.begin_s - times[0]) / scale_s, (leg.end_s - times[0]) / scale_s)
        for leg in legs
    }
    for axes in shaded:
        for number, (leg, span) in enumerate(spans.items()):
            shade = _LEG_SHADES[number % len(_LEG_SHADES)]
            axes.axvspan(*span, color=shade, zorder=0, linewidth=0, gid=leg.name)
        # Beside the axes, where no curve can be: alarm lines are named there too.
        axes.legend(
            frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5)
        )
    _name_legs(warm, [(leg.name, sum(span) / 2) for leg, span in spans.items()])
    if specimen:
        figure.suptitle(specimen, fontsize=11)
    return figure


def _unit(span_s: float) -> tuple[float, str]:
    return next((u for u in _UNITS_S if span_s >= 2 * u[0]), _UNITS_S[-1])


def _draw(
    axes: Axes,
    elapsed: NDArray[np.float64],
    by_place: Mapping[str, ArrayLike],
    colours: Mapping[str, str],
) -> None:
    for place, readings in by_place.items():
        values = np.asarray(readings, float)
        if values.shape != elapsed.shape:
            raise KernelInputError(
                f"timeline: {axes.get_ylabel()} of {place}: {values.size} readings "
                f"don't fit {elapsed.size} times; give one a row"
            )
        if axes.get_yscale() == "log":
            values = np.where(values > 0, values, np.nan)
        axes.plot(elapsed, values, color=colours[place], linewidth=1.4, label=place)
    axes.margins(y=0.08)


def _add_alarms(axes: Axes, limits: Mapping[str, float], unit: str) -> None:
    for number, (name, value) in enumerate(limits.items()):
        axes.axhline(
            value,
            color=_ALARM_COLOURS[min(number, len(_ALARM_COLOURS) - 1)],
            linewidth=1.0,
            linestyle="--",
            label=f"{name} {value:g} {unit}".replace("-0", "-").replace("-", "\u2212"),
        )


def _name_legs(axes: Axes, names: Sequence[tuple[str, float]]) -> None:
    """Name the legs above the axes; a line leads to those that are too short."""
    left, right = axes.get_xlim()
    apart = _NAMES_APART * (right - left)
    places = [middle for _, middle in names]
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + apart)
    # The last ones back within the axes, and those before them out of their way.
    for i in reversed(range(len(places))):
        behind = places[i + 1] - apart if i + 1 < len(places) else right
        places[i] = min(places[i], behind)
    above = axes.get_xaxis_transform()
    for (name, middle), place in zip(names, places, strict=True):
        axes.plot(
            [middle, place],
            [1.01, 1.07],
            transform=above,
            color="0.5",
            linewidth=0.7,
            clip_on=False,
            scalex=False,
        )
        axes.text(
            place,
            1.09,
            name,
            transform=above,
            rotation=40,
            rotation_mode="anchor",
            va="center",
            fontsize=8,
        )
