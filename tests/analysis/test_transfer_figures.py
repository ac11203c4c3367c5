"""The cold way is drawn with its legs and alarms, against instrument time."""

from typing import Any

import matplotlib.text
import numpy as np
import pytest
from matplotlib.patches import Rectangle

from cryoline.analysis.errors import KernelInputError
from cryoline.analysis.transfer_figures import LegSpan, leg_spans, transfer_timeline

TIMES_S = 5000.0 + np.arange(0.0, 1210.0, 10.0)
LEGS = ["cool"] * 60 + ["load-holder"] * 59 + ["insert"] * 2
TEMPERATURES = {"carrier": np.linspace(25.0, -170.0, 121), "pot": np.full(121, -196.0)}
PRESSURES = {"pot": np.full(121, 1e3), "suitcase": np.geomspace(1e-9, 1e-7, 121)}


def timeline(**change):
    given: dict[str, Any] = {
        "times_s": TIMES_S,
        "temperature_degc": TEMPERATURES,
        "pressure_mbar": PRESSURES,
        "legs": leg_spans(TIMES_S, LEGS),
    }
    return transfer_timeline(**given | change)


def lines(axes):
    """Return what the legend names, by its name."""
    return {line.get_label(): line for line in axes.lines if line.get_label()[0] != "_"}


def test_rows_become_legs_from_their_first_to_their_last_time() -> None:
    assert leg_spans([0, 1, 2, 3, 4, 5], ["a", "a", "", "b", "b", "a"]) == (
        LegSpan("a", 0.0, 1.0),
        LegSpan("b", 3.0, 4.0),
        LegSpan("a", 5.0, 5.0),
    )


def test_temperature_and_log_pressure_have_an_axis_each_with_units() -> None:
    warm, gas = timeline(specimen="nw-01").axes

    assert warm.get_ylabel() == "temperature / °C"
    assert gas.get_ylabel() == "pressure / mbar"
    assert gas.get_yscale() == "log"
    assert gas.get_xlabel() == "instrument time / min   (0 is 5000 s)"
    carrier = lines(warm)["carrier"]
    np.testing.assert_allclose(carrier.get_xdata(), (TIMES_S - 5000.0) / 60.0)
    np.testing.assert_allclose(carrier.get_ydata(), TEMPERATURES["carrier"])


def test_a_place_has_one_colour_in_both() -> None:
    warm, gas = timeline().axes

    assert lines(warm)["pot"].get_color() == lines(gas)["pot"].get_color()
    assert lines(warm)["pot"].get_color() != lines(gas)["suitcase"].get_color()


def test_alarms_are_lines_at_minus_150_and_minus_140() -> None:
    warm, gas = timeline(limits_mbar={"stop": 1e-7}).axes

    alarms = {
        n: line.get_ydata()[0] for n, line in lines(warm).items() if "\u2212" in n
    }
    assert alarms == {"warning \u2212150 °C": -150.0, "stop \u2212140 °C": -140.0}
    assert lines(gas)["stop 1e\u22127 mbar"].get_ydata()[0] == 1e-7


def test_legs_are_shaded_where_they_were_walked_and_named_apart() -> None:
    figure = timeline()

    for axes in figure.axes:
        shades = {p.get_gid(): p for p in axes.findobj(Rectangle) if p.get_gid()}
        assert list(shades) == ["cool", "load-holder", "insert"]
        assert shades["cool"].get_x() == 0.0
        assert shades["cool"].get_width() == pytest.approx(590.0 / 60.0)
        assert shades["insert"].get_x() == pytest.approx(1190.0 / 60.0)
    figure.canvas.draw()
    names = [t for t in figure.findobj(matplotlib.text.Text) if t.get_text() in LEGS]
    assert len(names) == 3
    places = sorted(name.get_position()[0] for name in names)
    assert min(np.diff(places)) > 0.04 * 20.0


@pytest.mark.parametrize("begin_s", [5000.0, 5600.0, 6190.0])
def test_names_of_many_short_legs_stay_apart_and_over_the_axes(begin_s) -> None:
    spans = [LegSpan(f"leg-{i}", begin_s + i, begin_s + i + 0.5) for i in range(10)]

    warm, _ = timeline(legs=spans).axes

    places = np.array([text.get_position()[0] for text in warm.texts])
    assert places.max() <= 20.0
    assert places.min() >= 0.0
    assert np.diff(places).min() == pytest.approx(0.042 * 20.0)


def test_pressure_of_nothing_leaves_a_gap_and_no_pressures_leave_no_axis() -> None:
    pressures = np.full(121, 1e-8)
    pressures[:3] = 0.0

    _, gas = timeline(pressure_mbar={"suitcase": pressures}).axes
    assert np.isnan(lines(gas)["suitcase"].get_ydata()[:3]).all()
    assert len(timeline(pressure_mbar={}).axes) == 1


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"times_s": TIMES_S[::-1]}, "two instrument times or more, rising"),
        ({"temperature_degc": {}}, "the temperature of one place at least"),
        (
            {"temperature_degc": {"pot": [1.0]}},
            "temperature / °C of pot: 1 readings don't fit 121 times; give one a row",
        ),
    ],
)
def test_timeline_says_what_does_not_fit(change, text) -> None:
    with pytest.raises(KernelInputError, match=text):
        timeline(**change)
    with pytest.raises(KernelInputError, match="1 names don't fit 2 times"):
        leg_spans([0.0, 1.0], ["a"])


def test_timeline_becomes_a_png_without_a_display(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)

    timeline().savefig(tmp_path / "way.png", dpi=60)

    assert (tmp_path / "way.png").read_bytes().startswith(b"\x89PNG")
