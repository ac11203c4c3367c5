"""Tilts and slices are drawn at their place, in their colours, with scale bars."""

from typing import Any

import matplotlib.text
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle

from cryoline.analysis.errors import KernelInputError
from cryoline.analysis.figure_parts import (
    ELEMENT_COLOURS,
    SCALE_BAR,
    composite,
    full_scale,
    round_length,
)
from cryoline.analysis.tomography_figures import orthogonal_slices, tilt_gallery

ELEMENTS = ("Si", "O", "F", "C")
SIZE, VOXEL_NM = 48, 4.0


def core_shell(size=SIZE, voxel_nm=VOXEL_NM, x_nm=0.0):
    """Return (element, z, x, y): silicon below 40 nm, fluorine to 60 nm about it."""
    places = (np.arange(size) - (size - 1) / 2) * voxel_nm
    distance = np.hypot(places[:, None], places[None, :] - x_nm)
    core, shell = distance < 40.0, (distance >= 40.0) & (distance < 60.0)
    sections = np.stack([core, 0 * core, shell, 0 * core]).astype(float)
    return np.repeat(sections[..., None], size, axis=-1)


def texts(figure):
    return [t.get_text() for t in figure.findobj(matplotlib.text.Text)]


def bars(axes):
    return [p for p in axes.findobj(Rectangle) if p.get_gid() == SCALE_BAR]


def colour_at(axes, right_nm, up_nm):
    """Return the colour that a picture has at a place in nm."""
    (image,) = axes.images
    left, right, bottom, top = image.get_extent()
    picture = np.asarray(image.get_array())
    column = int((right_nm - left) / (right - left) * picture.shape[1])
    row = int((up_nm - bottom) / (top - bottom) * picture.shape[0])
    if image.origin == "upper":
        row = picture.shape[0] - 1 - row
    return tuple(picture[row, column])


def is_colour(found, element):
    return found == pytest.approx(to_rgb(ELEMENT_COLOURS[element]))


def gallery(angles_deg=(10.0, -5.0, 0.0), size=20) -> Any:
    """Return maps whose tilts have their silicon in another column each."""
    maps = np.zeros((len(angles_deg), 2, size, size))
    for tilt in range(len(angles_deg)):
        maps[tilt, 0, :, tilt] = 9.0
    maps[:, 1, 0, -1] = 4.0  # in the first row
    return maps, angles_deg, ("Si", "F")


def drawn(*arguments, pixel_nm: float, specimen: str | None = None, **options):
    maps, angles_deg, elements = gallery(*arguments, **options)
    return tilt_gallery(maps, angles_deg, elements, pixel_nm, specimen=specimen)


def test_gallery_is_sorted_by_angle() -> None:
    figure = drawn(pixel_nm=5.0)

    labels = [axes.texts[0].get_text() for axes in figure.axes]
    assert labels == ["\u22125°", "0°", "+10°"]
    for axes, tilt in zip(figure.axes, (1, 2, 0), strict=True):
        assert is_colour(colour_at(axes, 5.0 * tilt + 2.5, 50.0), "Si")


def test_gallery_shows_every_tilt_of_a_whole_series_with_its_scale() -> None:
    angles = (*range(0, 61, 5), *range(-5, -61, -5))
    figure = drawn(angles, size=64, pixel_nm=4.0, specimen="nw-01")

    assert len(figure.axes) == 25
    (bar,) = bars(figure)
    assert bar.get_width() == 50.0  # of 256 nm
    assert "50 nm" in texts(figure)
    assert "nw-01, 25 tilts, pixel 4 nm, tilt axis upright" in texts(figure)
    assert {"Si (full at 9 counts)", "F (full at 4 counts)"} <= set(texts(figure))


def test_the_legend_stays_within_a_narrow_figure() -> None:
    figure = tilt_gallery(np.ones((25, 4, 20, 20)), np.arange(25.0), ELEMENTS, 2.134)

    figure.canvas.draw()
    (legend,) = figure.legends
    box = legend.get_window_extent()

    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1
    assert box.y0 >= 0


def test_first_row_of_a_detector_image_is_at_the_top() -> None:
    figure = drawn(pixel_nm=5.0)

    assert is_colour(colour_at(figure.axes[0], 97.5, 97.5), "F")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"angles_deg": [0.0]}, r"maps \(3, 2, 20, 20\) don't fit 1 angles and 2 el"),
        ({"elements": ["Si"]}, r"give \(tilt, element, y, x\)"),
        ({"elements": ["Si", "Xe"]}, "'Xe' has no colour; choose among Si, O, F, C, P"),
        ({"pixel_nm": 0.0}, "pixels of 0 nm; give a length above 0 nm"),
        ({"angles_deg": [0.0, np.nan, 1.0]}, "maps or angles are not finite"),
    ],
)
def test_gallery_says_what_does_not_fit(change, text) -> None:
    maps, angles_deg, elements = gallery()
    given = {"angles_deg": angles_deg, "elements": elements, "pixel_nm": 5.0}

    with pytest.raises(KernelInputError, match=text):
        tilt_gallery(maps, **given | change)


def test_slices_show_the_core_within_the_shell_from_three_sides() -> None:
    figure = orthogonal_slices(core_shell(), ELEMENTS, VOXEL_NM)

    section, *along, _ = figure.axes
    for axes in (section, *along):
        assert is_colour(colour_at(axes, 2.0, 2.0), "Si")
        for side_nm in (-50.0, 50.0):
            assert is_colour(colour_at(axes, 2.0, side_nm), "F")
        assert colour_at(axes, 2.0, 66.0) == (0.0, 0.0, 0.0)
    assert is_colour(colour_at(section, 50.0, 2.0), "F")
    assert [
        axes.get_xlabel()[0] + axes.get_ylabel()[0] for axes in (section, *along)
    ] == [
        "xz",
        "yx",
        "yz",
    ]
    assert along[1].get_ylabel() == "z / nm  (along the beam at 0°)"


def test_what_lies_at_plus_is_drawn_to_the_right_and_up() -> None:
    volumes = np.zeros((1, 20, 20, 20))
    volumes[0, 15, 12, 17] = 1.0  # z = +11, x = +5, y = +15 nm

    figure = orthogonal_slices(
        volumes, ["Si"], 2.0, slab_nm=2.0, centre_nm=(11.0, 5.0, 15.0), field_nm=40.0
    )

    for axes, place in zip(figure.axes, ((5, 11), (15, 5), (15, 11)), strict=False):
        assert is_colour(colour_at(axes, *place), "Si")


def test_slices_are_named_with_their_true_thickness() -> None:
    figure = orthogonal_slices(core_shell(), ELEMENTS, VOXEL_NM, slab_nm=21.0)

    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == [f"reconstruction: mean of 20 nm along {a}" for a in "yzx"]


def test_every_slice_has_a_bar_of_50_nm_in_its_axes() -> None:
    figure = orthogonal_slices(core_shell(), ELEMENTS, VOXEL_NM)

    assert [bar.get_width() for bar in bars(figure)] == [50.0] * 4
    assert texts(figure).count("50 nm") == 4


def test_each_element_is_shown_alone_too() -> None:
    figure = orthogonal_slices(core_shell(), ELEMENTS, VOXEL_NM)

    alone = figure.axes[3].child_axes
    assert [axes.texts[0].get_text() for axes in alone] == list(ELEMENTS)
    silicon, _, fluorine, _ = alone
    assert is_colour(colour_at(silicon, 0.0, 0.0), "Si")
    assert colour_at(fluorine, 0.0, 0.0) == (0.0, 0.0, 0.0)
    assert is_colour(colour_at(fluorine, 0.0, 50.0), "F")


def test_truth_of_finer_voxels_is_a_second_row_at_the_same_place() -> None:
    figure = orthogonal_slices(
        core_shell(x_nm=30.0),
        ELEMENTS,
        VOXEL_NM,
        truth=core_shell(size=96, voxel_nm=2.0, x_nm=30.0),
        truth_voxel_nm=2.0,
    )

    first, second = figure.axes[:3], figure.axes[4:7]
    assert second[0].get_title() == "truth: mean of 20 nm along y"
    for upper, lower in zip(first, second, strict=True):
        assert upper.get_xlim() == lower.get_xlim()
    for section in (first[0], second[0]):
        assert is_colour(colour_at(section, 30.0, 0.0), "Si")
        assert is_colour(colour_at(section, -20.0, 0.0), "F")


def test_a_wire_beside_the_axis_is_still_cut_through_its_middle() -> None:
    figure = orthogonal_slices(core_shell(x_nm=60.0), ELEMENTS, VOXEL_NM)

    side = figure.axes[2]
    assert is_colour(colour_at(side, 0.0, 0.0), "Si")
    low, high = figure.axes[0].get_xlim()
    assert low < 0.0
    assert high == 96.0  # the volume's end


def test_a_single_bright_voxel_does_not_darken_the_others() -> None:
    volumes = core_shell()
    volumes[0, SIZE // 2, SIZE // 2, SIZE // 2] = 1000.0

    figure = orthogonal_slices(volumes, ELEMENTS, VOXEL_NM)

    assert is_colour(colour_at(figure.axes[0], 12.0, 12.0), "Si")


def test_slices_say_what_does_not_fit() -> None:
    volumes = core_shell()

    for given, text in (
        ({"volumes": volumes[:2]}, r"reconstruction \(2, 48, 48, 48\) doesn't fit 4"),
        ({"truth": volumes[:2]}, r"truth \(2, 48, 48, 48\) doesn't fit 4 elements"),
        ({"centre_nm": (500, 0, 0)}, "slice at z = 500 nm: the volume ends"),
        ({"slab_nm": 0.0}, "slab_nm = 0; give a length above 0 nm"),
        ({"field_nm": -1.0}, "field_nm = -1; give a length above 0 nm"),
    ):
        with pytest.raises(KernelInputError, match=text):
            orthogonal_slices(
                **{"volumes": volumes, "elements": ELEMENTS, "voxel_nm": 4.0} | given
            )


def test_colours_add_up_and_keep_their_hue_where_they_are_too_bright() -> None:
    orange, blue = (np.array(to_rgb(ELEMENT_COLOURS[e])) for e in ("Si", "O"))

    half, sum_ = composite([[0.5, 2.0], [0.0, 1.0]], ("Si", "O"), [1.0, 1.0])

    np.testing.assert_allclose(half, orange / 2)
    both = orange + blue
    assert both.max() > 1.0
    np.testing.assert_allclose(sum_, both / both.max())


def test_full_scale_of_an_absent_element_is_no_division_by_zero() -> None:
    few = np.zeros(1000)
    few[0] = 3.0

    np.testing.assert_allclose(full_scale([np.zeros(1000), few]), [1.0, 3.0])


@pytest.mark.parametrize(
    ("span", "length"), [(546.0, 100.0), (150.0, 50.0), (59.0, 10.0), (60.0, 20.0)]
)
def test_scale_bar_is_a_round_length(span, length) -> None:
    assert round_length(span) == length
