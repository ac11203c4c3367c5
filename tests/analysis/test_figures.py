"""Figures hold the data that they are given, with units, and need no display."""

from collections.abc import Sequence

import matplotlib.figure
import numpy as np
import pytest

from cryoline.analysis.capacity_figures import capacity_figure, incremental_figure
from cryoline.analysis.cycling_pictures import cycling_pictures
from cryoline.analysis.errors import StreamError
from cryoline.analysis.figures import charge_curve_figure, voltammogram_figure


def points(cycles=2, scale_a=1e-5, prefix="pot_"):
    rows = 200
    down, up = np.linspace(3.0, 0.01, rows), np.linspace(0.01, 3.0, rows)
    potential = np.tile(np.r_[down, up], cycles)
    current = np.tile(np.r_[np.zeros(rows), np.exp(-((up - 0.4) ** 2))], cycles)
    number = np.arange(potential.size)
    columns = {
        "instrument_time_s": number * 75.0,
        "potential_v": potential,
        "current_a": scale_a * current,
        "cycle_number": 1 + number // (2 * rows),
        "half_cycle": number // rows,
    }
    stamps = {f"ts_{prefix}{name}": np.zeros(number.size) for name in columns}
    return {prefix + name: column for name, column in columns.items()} | stamps


PEAKS: dict[str, Sequence[float] | Sequence[str]] = {
    "cycle_number": [1, 2],
    "direction": ["anodic", "anodic"],
    "potential_v": [0.4, 0.401],
    "current_a": [1e-5, 1e-5],
}
CYCLES: dict[str, Sequence[float]] = {
    "cycle_number": [1, 2, 3],
    "lithiation_mah": [0.011, 0.012, 0.013],
    "delithiation_mah": [0.010, 0.0119, 0.0129],
    "coulombic_efficiency": [0.91, 0.99, 0.992],
    "lithiation_mah_per_g": [3500.0, 3300.0, 3200.0],
    "delithiation_mah_per_g": [3200.0, 3200.0, 3150.0],
}


def texts(figure):
    return [t.get_text() for t in figure.findobj(matplotlib.text.Text)]


def test_voltammogram_shows_every_row_in_the_unit_of_its_axis() -> None:
    figure = voltammogram_figure(points(), PEAKS, specimen="wafer-01")

    (axes,) = figure.axes
    drawn = np.concatenate(
        [line.get_ydata() for line in axes.lines if np.size(line.get_xdata()) > 100]
    )
    assert drawn.size == 800 + 3  # each further sweep begins where the last one ends
    assert drawn.max() == pytest.approx(10.0, rel=1e-3)
    assert axes.get_ylabel().startswith("current / µA")
    assert axes.get_xlabel() == "potential vs Li/Li$^+$ / V"
    assert axes.get_title() == "wafer-01, 0.2 mV/s"
    assert {"cycle 1", "cycle 2", "anodic \u2192", "\u2190 cathodic"} <= set(
        texts(figure)
    )
    assert "cycle 1, anodic: 0.400 V" in texts(figure)


@pytest.mark.parametrize(("scale_a", "unit"), [(2e-3, "mA"), (5e-8, "nA")])
def test_current_unit_follows_the_current(scale_a, unit) -> None:
    (axes,) = voltammogram_figure(points(scale_a=scale_a)).axes

    assert axes.get_ylabel().startswith(f"current / {unit}")


def test_every_cycle_has_its_own_colour_and_few_are_named() -> None:
    figure = voltammogram_figure(points(cycles=12))

    (axes,) = figure.axes
    lines = [line for line in axes.lines if np.size(line.get_xdata()) > 100]
    assert len({line.get_color() for line in lines}) == 12
    assert [t for t in texts(figure) if t.startswith("cycle ")] == [
        "cycle 1",
        "cycle 7",
        "cycle 12",
    ]


def test_voltammogram_becomes_a_png_without_a_display(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)

    voltammogram_figure(points(), PEAKS).savefig(tmp_path / "v.png", dpi=60)
    capacity_figure(CYCLES).savefig(tmp_path / "c.png", dpi=60)

    for name in ("v.png", "c.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_capacity_and_efficiency_have_an_axis_each() -> None:
    figure = capacity_figure(CYCLES, specimen="wafer-01")

    left, right = figure.axes
    assert left.get_ylabel() == "capacity / µAh"
    assert [np.asarray(line.get_ydata()).tolist() for line in left.lines] == [
        pytest.approx([11, 12, 13]),
        pytest.approx([10, 11.9, 12.9]),
    ]
    assert np.asarray(right.lines[0].get_ydata()).tolist() == pytest.approx(
        [91, 99, 99.2]
    )


def test_capacity_per_gram_is_in_its_own_unit() -> None:
    left, _ = capacity_figure(CYCLES, per_gram=True).axes

    assert left.get_ylabel() == "capacity / mAh/g"
    assert np.asarray(left.lines[0].get_ydata()).tolist() == [3500.0, 3300.0, 3200.0]


def test_a_missing_column_is_named() -> None:
    columns = points()
    del columns["pot_current_a"]

    with pytest.raises(StreamError, match="needs one column 'current_a'"):
        voltammogram_figure(columns)


def test_charge_curves_begin_each_half_cycle_at_zero_charge() -> None:
    charge_mah = [0.0, 0.02, 0.04, 0.03, 0.01, 0.0]
    points: dict[str, list[float]] = {
        "potential_v": [0.1, 0.2, 0.5, 0.4, 0.1, 0.05],
        "charge_mah": charge_mah,
        "cycle_number": [1, 1, 1, 1, 1, 1],
        "half_cycle": [0, 0, 0, 1, 1, 1],
    }

    (axes,) = charge_curve_figure(points).axes

    drawn = [np.asarray(line.get_xdata(), dtype=float) for line in axes.lines]
    curves = [x for x in drawn if x.size]
    assert axes.get_xlabel() == "charge of the half cycle / µAh"
    np.testing.assert_allclose(curves[0], [0.0, 20.0, 40.0])
    np.testing.assert_allclose(curves[1], [0.0, 20.0, 30.0])


def test_dq_dv_is_drawn_in_its_unit_and_spikes_run_out_of_it() -> None:
    potential = np.linspace(0.0, 1.0, 200)
    values = 2e-3 * np.exp(-((potential - 0.4) ** 2) / 0.005)
    values[-1] = 0.5  # the potential was held there
    columns = {
        "potential_v": potential,
        "dq_dv_mah_per_v": values,
        "cycle_number": np.ones(200),
        "half_cycle": np.zeros(200),
    }

    figure = incremental_figure(columns, reference="Li/Li$^+$")

    (axes,) = figure.axes
    assert axes.get_ylabel() == "dQ/dV / µAh V$^{-1}$   (oxidation positive)"
    assert 2 < axes.get_ylim()[1] < 10
    assert any("to 500 µAh V$^{-1}$" in text for text in texts(figure))


def test_capacity_says_what_is_left_of_the_chosen_cycle() -> None:
    cycles = {**CYCLES, "retention": [0.84, 1.0, 1.084], "complete": [True] * 3}

    figure = capacity_figure(cycles, specimen="w", retention_cycle=2)

    assert figure.axes[0].get_title() == "w, 108.4 % of cycle 2 left in cycle 3"


def test_a_record_has_its_pictures_and_they_show_themselves(tmp_path) -> None:
    columns = {name.removeprefix("pot_"): column for name, column in points().items()}
    columns["charge_mah"] = np.cumsum(columns["current_a"]) * 75 / 3.6

    pictures = cycling_pictures(columns, specimen="wafer-01", electrode_mass_mg=1.0)

    names = [picture.name for picture in pictures]
    assert names == ["voltammogram", "capacity", "incremental-capacity"]
    png, svg = pictures[1].save(tmp_path)
    assert png.read_bytes().startswith(b"\x89PNG")
    assert png.read_bytes() == pictures[1]._repr_png_()
    assert svg.read_text().startswith("<?xml")
    assert "mAh/g" in pictures[1].figure.axes[0].get_ylabel()
    assert pictures._repr_html_().count("<img") == 3
    assert repr(pictures).startswith("<pictures: voltammogram, capacity")
