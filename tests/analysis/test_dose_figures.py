"""Figures of dose say in numbers what they show: parts, cells, and the limit."""

from typing import Any

import numpy as np
import pytest

from cryoline.analysis.dose_figures import dose_bar, dose_map
from cryoline.analysis.errors import KernelInputError

SETTLED = {"record": 1.97e6, "tracking": 6.3e4}


def parts(figure):
    """Return where each part begins and ends, in the axis' unit."""
    axes = figure.axes[0]
    names = axes.get_legend_handles_labels()[1]
    drawn = [bar[0] for bar in axes.containers]
    return {
        name: (bar.get_x(), bar.get_x() + bar.get_width())
        for name, bar in zip(names, drawn, strict=True)
    }


def table(figure):
    """Return the rows of numbers below the bar."""
    cells = [text.get_text() for text in figure.axes[1].texts]
    head, rows = cells[:2], cells[2:]
    return head, {rows[i]: tuple(rows[i + 1 : i + 3]) for i in range(0, len(rows), 3)}


def test_parts_lie_end_to_end_and_fill_the_limit() -> None:
    figure = dose_bar(SETTLED, 1e7, reserved_e_per_nm2=5e5)

    bars = parts(figure)
    assert list(bars) == ["record", "tracking", "reserved", "left"]
    edges = [edge for span in bars.values() for edge in span]
    np.testing.assert_allclose(
        edges, [0, 1.97, 1.97, 2.033, 2.033, 2.533, 2.533, 10.0], atol=1e-9
    )
    assert figure.axes[0].get_xlabel() == "fluence / 10$^{6}$ e/nm$^2$"


def test_numbers_are_in_the_axis_unit_and_in_percent_of_the_limit() -> None:
    head, rows = table(dose_bar(SETTLED, 1e7, reserved_e_per_nm2=5e5))

    assert head == ["fluence / 10$^{6}$ e/nm$^2$", "of the limit / %"]
    assert rows == {
        "record": ("1.97", "19.7"),
        "tracking": ("0.063", "0.63"),
        "reserved": ("0.5", "5"),
        "left": ("7.47", "74.7"),
        "limit": ("10", "100"),
    }


def test_upper_axis_is_in_percent_of_the_limit() -> None:
    figure = dose_bar(SETTLED, 2e5)
    figure.draw_without_rendering()

    axes = figure.axes[0]
    (upper,) = axes.child_axes
    assert upper.get_xlabel() == "part of the limit / %"
    assert upper.get_xlim()[1] == pytest.approx(axes.get_xlim()[1] / 200.0 * 100.0)


def test_what_is_over_the_limit_lies_beyond_it() -> None:
    figure = dose_bar({"record": 1.1e7}, 1e7)

    assert parts(figure)["over the limit"] == pytest.approx((10.0, 11.0))
    assert table(figure)[1]["over the limit"] == ("1", "10")


def test_a_purpose_has_its_colour_in_every_bar() -> None:
    def colour(figure, number):
        return figure.axes[0].containers[number][0].get_facecolor()

    both, one = dose_bar(SETTLED, 1e7), dose_bar({"tracking": 1.0}, 1e7)

    assert colour(both, 1) == colour(one, 0)
    assert colour(both, 0) != colour(both, 1)


@pytest.mark.parametrize(
    ("settled", "limit", "text"),
    [
        (SETTLED, 0.0, "the limit is 0 e/nm2; give one above 0"),
        ({"view": -1.0}, 1e7, "view is -1 e/nm2; give 0 or more"),
        ({"view": float("nan")}, 1e7, "view is nan e/nm2"),
    ],
)
def test_dose_that_is_none_is_refused(settled, limit, text) -> None:
    with pytest.raises(KernelInputError, match=text):
        dose_bar(settled, limit)


X_NM, Y_NM = np.arange(-300.0, 400.0, 10.0), np.arange(-200.0, 200.0, 10.0)


def fields(outside: float = 0.0):
    """Return two fields of 2e6 and 4e6 e/nm2, the second one at x = 200 nm."""
    cells = np.full((len(Y_NM), len(X_NM)), outside)
    cells[10:30, 20:40] = 2e6
    cells[10:30, 45:55] = 4e6
    return cells


def test_a_map_shows_the_worst_cell_the_limit_and_every_region() -> None:
    regions = {"tip": (0, 0, 200, 200, 0), "base": (200, 0, 100, 200, 30)}

    figure = dose_map(fields(), X_NM, Y_NM, 1e7, regions=regions, specimen="nw-01")

    axes = figure.axes[0]
    assert figure.get_suptitle().startswith("nw-01: at most 4 (+) of 10 ")
    assert figure.get_suptitle().endswith("e/nm$^2$, 40 %")
    names = {text.get_text() for text in axes.texts}
    assert {"tip", "base", "100 nm"} <= names
    x_nm, y_nm = np.asarray(axes.lines[0].get_xydata(), float)[0]
    assert (abs(x_nm - 200) <= 10, abs(y_nm) <= 10) == (True, True)
    dashed: list[Any] = [p for p in axes.patches if p.get_linestyle() == "--"]
    assert [p.get_bbox().bounds for p in dashed] == [
        (-100.0, -100.0, 200.0, 200.0),
        (150.0, -100.0, 100.0, 200.0),
    ]
    assert [p.get_angle() for p in dashed] == [0, 30]
    bar, row = axes.child_axes
    assert bar.get_ylabel() == "fluence / 10$^{6}$ e/nm$^2$"
    drawn = np.asarray(row.lines[0].get_xydata(), float)
    np.testing.assert_allclose(
        [drawn[abs(drawn[:, 0] - x).argmin(), 1] for x in (0, 200)], [2.0, 4.0]
    )
    assert np.asarray(row.lines[1].get_ydata())[0] == 10.0


def test_what_was_never_hit_has_no_colour() -> None:
    image = dose_map(fields(), X_NM, Y_NM, 1e7).axes[0].images[0]

    shown: Any = image.get_array()
    assert shown.mask[0, 0]
    assert set(shown.compressed()) == {2.0, 4.0}
    assert shown.shape[1] == 43  # 35 columns with their margin
    assert image.norm.vmax == 10.0


@pytest.mark.parametrize(
    ("cells", "limit", "text"),
    [
        (fields(), 0.0, "the limit is 0 e/nm2; give one above 0"),
        (fields().T, 1e7, "give .y, x., two of each at least"),
        (fields(-1.0), 1e7, "a cell is negative or no number"),
    ],
)
def test_what_is_no_map_is_refused(cells, limit, text) -> None:
    with pytest.raises(KernelInputError, match=text):
        dose_map(cells, X_NM, Y_NM, limit)
