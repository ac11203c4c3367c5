"""Figures of what a specimen went through: its cold way, and the dose it has had."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from cryoline.analysis.errors import KernelInputError
from cryoline.analysis.figure_parts import new_figure, tidy

__all__ = ["LIMITS_DEGC", "LegSpan", "dose_bar", "leg_spans", "transfer_timeline"]

LIMITS_DEGC: Final[Mapping[str, float]] = {"warning": -150.0, "stop": -140.0}
"""Where a specimen on its cold way is near to crystallising, and where it is lost."""

_COLOURS: Final = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
    "#000000",
)
_LEG_SHADES: Final = ("#e3eaf2", "#f6f1e3")
_ALARM_COLOURS: Final = ("#e69f00", "#c1272d")
_RESERVED: Final = "reserved"
_LEFT: Final = "left"
_OVER: Final = "over the limit"
_PART_COLOURS: Final = {_RESERVED: "#999999", _LEFT: "#ececec", _OVER: "#c1272d"}
_HATCHES: Final = {_RESERVED: "///", _OVER: "xxx"}
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
    panels = 2 if pressure_mbar else 1
    figure = new_figure(7.2, 1.1 + 2.1 * panels)
    grid = figure.add_gridspec(panels + 1, 1, height_ratios=[0.28, *[1.0] * panels])
    strip = figure.add_subplot(grid[0])
    warm = tidy(figure.add_subplot(grid[1], sharex=strip))
    warm.set_ylabel("temperature / °C")
    _draw(warm, times, scale_s, temperature_degc, "temperature_degc")
    _alarms(warm, limits, "°C")
    shaded = [strip, warm]
    if pressure_mbar:
        gas = tidy(figure.add_subplot(grid[2], sharex=strip))
        gas.set_ylabel("pressure / mbar")
        gas.set_yscale("log")
        _draw(gas, times, scale_s, pressure_mbar, "pressure_mbar", is_log=True)
        _alarms(gas, limits_mbar or {}, "mbar")
        shaded.append(gas)
        warm.tick_params(labelbottom=False)
    last = shaded[-1]
    last.set_xlim(0.0, (times[-1] - times[0]) / scale_s)
    last.set_xlabel(f"instrument time since {times[0]:.0f} s / {unit}")
    _shade(shaded, legs, float(times[0]), scale_s)
    if specimen:
        figure.suptitle(specimen, fontsize=11)
    return figure


def dose_bar(
    settled_e_per_nm2: Mapping[str, float],
    limit_e_per_nm2: float,
    *,
    reserved_e_per_nm2: float = 0.0,
    specimen: str | None = None,
) -> Figure:
    """Return what each purpose has cost a region, what is reserved, and what is left.

    Fluence is beam-normal, mean over the field. What is beyond the limit is hatched.
    Raises KernelInputError for a limit that is none, or a negative fluence.
    """
    if not (math.isfinite(limit_e_per_nm2) and limit_e_per_nm2 > 0):
        raise KernelInputError(
            f"dose bar: the limit is {limit_e_per_nm2:g} e/nm2; give one above 0"
        )
    used = {**settled_e_per_nm2, _RESERVED: reserved_e_per_nm2}
    for name, fluence in used.items():
        if not (math.isfinite(fluence) and fluence >= 0):
            raise KernelInputError(
                f"dose bar: {name} is {fluence:g} e/nm2; give 0 or more"
            )
    left = limit_e_per_nm2 - sum(used.values())
    parts = [*used.items(), (_LEFT, left) if left >= 0 else (_OVER, -left)]
    power = math.floor(math.log10(limit_e_per_nm2) / 3) * 3
    scale, unit = 10.0**power, f"10$^{{{power}}}$ e/nm$^2$"
    table_in = 0.21 * (len(parts) + 2)
    figure = new_figure(6.0, 1.6 + table_in)
    grid = figure.add_gridspec(2, 1, height_ratios=[0.6, table_in])
    axes = tidy(figure.add_subplot(grid[0]))
    colours = [_part_colour(name, number) for number, (name, _) in enumerate(parts)]
    begin = 0.0
    for (name, fluence), colour in zip(parts, colours, strict=True):
        begin = limit_e_per_nm2 if name == _OVER else begin
        axes.barh(
            0.0,
            fluence / scale,
            left=begin / scale,
            height=0.8,
            color=colour,
            edgecolor="white",
            linewidth=0.5,
            hatch=_HATCHES.get(name),
            label=name,
        )
        begin += fluence
    axes.axvline(limit_e_per_nm2 / scale, color="black", linewidth=1.5)
    axes.set_xlim(0.0, 1.02 * max(begin, limit_e_per_nm2) / scale)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(f"fluence / {unit}")
    _percent_axis(axes, limit_e_per_nm2 / scale)
    table = figure.add_subplot(grid[1])
    header = (f"fluence / {unit}", "of the limit / %")
    rows = [
        (name, f"{fluence / scale:.3g}", f"{100 * fluence / limit_e_per_nm2:.3g}")
        for name, fluence in parts
    ]
    total = f"{limit_e_per_nm2 / scale:.3g}", "100"
    _list(table, header, [*rows, ("limit", *total)], colours)
    if specimen:
        figure.suptitle(specimen, fontsize=11)
    return figure


def _percent_axis(axes: Axes, limit: float) -> None:
    def to_percent(fluence: ArrayLike) -> NDArray[np.float64]:
        return np.asarray(fluence, float) * 100.0 / limit

    def from_percent(percent: ArrayLike) -> NDArray[np.float64]:
        return np.asarray(percent, float) * limit / 100.0

    top = axes.secondary_xaxis("top", functions=(to_percent, from_percent))
    top.tick_params(direction="in")
    top.set_xlabel("part of the limit / %")


def _list(
    axes: Axes,
    header: tuple[str, str],
    rows: Sequence[tuple[str, str, str]],
    colours: Sequence[str],
) -> None:
    """Write a table of names and numbers, a coloured square before each part."""
    axes.set_axis_off()
    axes.set_xlim(0.0, 1.0)
    axes.set_ylim(len(rows) + 0.5, -0.5)
    for place, text in zip((0.55, 0.85), header, strict=True):
        axes.text(place, 0, text, ha="right", va="center", fontsize=9, color="0.35")
    for line, (name, *numbers) in enumerate(rows, 1):
        if line <= len(colours):
            axes.plot(
                0.08,
                line,
                "s",
                markersize=8,
                color=colours[line - 1],
                markeredgecolor="0.4",
                markeredgewidth=0.4,
            )
        axes.text(0.11, line, name, va="center", fontsize=9)
        for place, number in zip((0.55, 0.85), numbers, strict=True):
            axes.text(place, line, number, ha="right", va="center", fontsize=9)


def _part_colour(name: str, number: int) -> str:
    return _PART_COLOURS.get(name, _COLOURS[number % len(_COLOURS)])


def _unit(span_s: float) -> tuple[float, str]:
    return next((u for u in _UNITS_S if span_s >= 2 * u[0]), _UNITS_S[-1])


def _draw(
    axes: Axes,
    times_s: NDArray[np.float64],
    scale_s: float,
    by_place: Mapping[str, ArrayLike],
    what: str,
    *,
    is_log: bool = False,
) -> None:
    for number, (place, readings) in enumerate(by_place.items()):
        values = np.asarray(readings, float)
        if values.shape != times_s.shape:
            raise KernelInputError(
                f"timeline: {what} of {place}: {values.size} readings don't fit "
                f"{times_s.size} times; give one a row"
            )
        if is_log:
            values = np.where(values > 0, values, np.nan)
        axes.plot(
            (times_s - times_s[0]) / scale_s,
            values,
            color=_COLOURS[number % len(_COLOURS)],
            linewidth=1.4,
            label=place,
        )
    axes.margins(y=0.08)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _alarms(axes: Axes, limits: Mapping[str, float], unit: str) -> None:
    """Draw a line each, named to its right end, the higher ones above their line."""
    ranked = sorted(limits.values())
    for number, (name, value) in enumerate(limits.items()):
        colour = _ALARM_COLOURS[min(number, len(_ALARM_COLOURS) - 1)]
        axes.axhline(value, color=colour, linewidth=1.0, linestyle="--")
        is_upper = value == ranked[-1]
        shown = f"{value:g}".replace("-", "\u2212")
        axes.annotate(
            f"{name} {shown} {unit}",
            xy=(0.005, value),
            xycoords=("axes fraction", "data"),
            xytext=(0, 1 if is_upper else -1),
            textcoords="offset points",
            va="bottom" if is_upper else "top",
            fontsize=7.5,
            color=colour,
        )


def _shade(
    panels: Sequence[Axes], legs: Sequence[LegSpan], begin_s: float, scale_s: float
) -> None:
    """Shade the legs in all panels, and name them in the first."""
    for number, leg in enumerate(legs):
        span = ((leg.begin_s - begin_s) / scale_s, (leg.end_s - begin_s) / scale_s)
        for axes in panels:
            shade = _LEG_SHADES[number % len(_LEG_SHADES)]
            axes.axvspan(
                *span, color=shade, zorder=0, linewidth=0, gid=f"leg {leg.name}"
            )
        panels[0].text(
            sum(span) / 2, 0.5, leg.name, ha="center", va="center", fontsize=7
        )
    panels[0].set_axis_off()
