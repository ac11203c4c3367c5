"""Validation figures of the EDS detector, in absolute counts."""

from dataclasses import replace

import numpy as np
import pytest

from cryoline.sim.eds_background import background_of, brightness
from cryoline.sim.eds_events import EdsEvents, EdsModel
from cryoline.sim.eds_lines import (
    CHANNEL_KEV,
    CHANNELS,
    LINE_KEV,
    WINDOW_KEV,
    counts_per_electron,
    line_sigma_kev,
    part_in_window,
)
from cryoline.sim.eds_shadow import quadrants_in_view
from cryoline.sim.phantom import make_bead, make_wire
from cryoline.sim.phantom_knobs import ELEMENTS
from cryoline.sim.specimen_voxels import SpecimenVoxels, list_voxels
from cryoline.sim.tilt_render import render_tilt_series, undrifted_view
from cryoline.sim.view import View

PIXEL_NM = {1: 2.134, 36: 1.48, 100: 1.068}  # [S1]
FLUENCE = {1: 1.97e6, 36: 4.3e6, 100: 7.7e6}  # [S1] e/nm2 of 25 tilts
# Net counts in the windows a tilt, of the prototype.
NET = {
    1: {"Si": 11901, "O": 4804, "F": 2888, "C": 1525},
    36: {"Si": 9722, "O": 11236, "F": 7336, "C": 3328},
    100: {"Si": 7524, "O": 16745, "F": 11375, "C": 4968},
}
PEAK_TO_BACKGROUND = {  # [S1]
    1: {"F": 2.9, "O": 75.0, "Si": 62.4, "C": 11.6},
    36: {"F": 4.6, "O": 51.5, "Si": 51.3, "C": 37.7},
    100: {"F": 25.2, "O": 288.0, "Si": 73.5, "C": 195.0},
}


@pytest.fixture(scope="module")
def wires() -> dict[int, SpecimenVoxels]:
    length = {1: 600, 36: 384, 100: 384}  # longer than each field
    return {
        n: list_voxels(make_wire(n, seed=7, shape=(96, 96, length[n]))) for n in length
    }


@pytest.fixture(scope="module")
def model(wires: dict[int, SpecimenVoxels]) -> EdsModel:
    return EdsModel(wires[1])


def papers_view(n_cycles: int = 1, **changes: object) -> View:
    """A tilt of the series of [S1]."""
    pixel_nm = PIXEL_NM[n_cycles]
    charge_c = FLUENCE[n_cycles] / 25 * (512 * pixel_nm) ** 2 * 1.602176634e-19
    view = undrifted_view(0.0, pixel_nm=pixel_nm, seed=(1, 2))
    view = replace(view, frame_charge_c=np.full(22, charge_c / 22))
    return replace(view, **changes)  # type: ignore[arg-type]


def window(events: EdsEvents, element: str) -> int:
    energy_kev = (events.channel + 0.5) * CHANNEL_KEV
    low, high = WINDOW_KEV[element]
    return int(((energy_kev > low) & (energy_kev < high)).sum())


def net_and_background(
    wires: dict[int, SpecimenVoxels], n_cycles: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Expected counts in the windows: of the line, and of what is below it."""
    voxels = wires[n_cycles]
    side_nm = 512 * PIXEL_NM[n_cycles]
    fluence = FLUENCE[n_cycles] / 25
    atoms = voxels.atoms * side_nm / (voxels.shape[2] * voxels.voxel_nm) * fluence
    lines = dict(zip(ELEMENTS, atoms * counts_per_electron(), strict=True))
    background = background_of(voxels, n_cycles)
    spectrum = background.per_brightness * brightness(atoms)
    spectrum = spectrum + background.per_electron * side_nm**2 * fluence
    edges_kev = np.arange(CHANNELS + 1) * CHANNEL_KEV
    below = {
        e: float(spectrum @ np.diff(np.clip(edges_kev, *WINDOW_KEV[e])) / CHANNEL_KEV)
        for e in NET[1]
    }
    return {e: lines[e] * part_in_window(e) for e in NET[1]}, below


def test_yields_are_those_of_first_principles() -> None:
    found = dict(zip(ELEMENTS, counts_per_electron(), strict=True))

    for element, expected in {"Si": 7.3e-10, "O": 3.8e-10, "F": 4.7e-10}.items():
        assert found[element] == pytest.approx(expected, rel=0.01)
    assert found["C"] == pytest.approx(1.8e-10, rel=0.03)
    assert found["P"] == pytest.approx(7.7e-10, rel=0.01)
    assert line_sigma_kev(5.895) * 2.3548 == pytest.approx(0.136, abs=0.001)
    widths_ev = [line_sigma_kev(LINE_KEV[e]) * 2354.8 for e in ("Si", "O", "F", "C")]
    np.testing.assert_allclose(widths_ev, [94, 77, 80, 74], atol=0.6)
    parts = [part_in_window(e) for e in ("Si", "O", "F", "C")]
    np.testing.assert_allclose(parts, [0.95, 0.945, 0.86, 0.85], atol=0.002)


@pytest.mark.parametrize("n_cycles", [1, 36, 100])
def test_counts_and_peak_to_background_are_the_papers(
    wires: dict[int, SpecimenVoxels], n_cycles: int
) -> None:
    net, below = net_and_background(wires, n_cycles)

    for element, expected in NET[n_cycles].items():
        assert net[element] == pytest.approx(expected, rel=0.2), element
        ratio = PEAK_TO_BACKGROUND[n_cycles][element]
        assert net[element] / below[element] == pytest.approx(ratio, rel=0.05), element


@pytest.mark.parametrize("n_cycles", [1, 36, 100])
def test_silicon_peak_channel_is_near_1000_counts_a_tilt(
    wires: dict[int, SpecimenVoxels], n_cycles: int
) -> None:
    events = EdsModel(wires[n_cycles], n_cycles=n_cycles).render(papers_view(n_cycles))
    net, below = net_and_background(wires, n_cycles)

    peak = int(events.spectrum[170:178].max())

    assert 793 * 0.9 < peak < 1254 * 1.1
    if n_cycles == 1:
        assert peak == pytest.approx(1254, rel=0.1)
    for element in ("Si", "O", "F", "C"):
        # Tails of the neighbours and the windows' edges in channels: 3 % more or so.
        expected = net[element] + below[element]
        assert window(events, element) == pytest.approx(expected, rel=0.08)


def test_events_are_in_the_order_of_the_scan(model: EdsModel) -> None:
    events = model.render(papers_view())
    position = (events.frame.astype(int) * 512 + events.y) * 512 + events.x

    assert (np.diff(position) >= 0).all()
    assert events.frame_offsets[0] == 0
    assert events.frame_offsets[-1] == len(events)
    counts = np.diff(events.frame_offsets.astype(int))
    np.testing.assert_array_equal(counts, np.bincount(events.frame, minlength=22))
    assert events.spectrum.sum() == len(events)
    # Frames of equal charge: Poisson.
    assert counts.std() < 2 * np.sqrt(counts.mean())


def test_same_view_gives_the_same_events_and_another_exposure_others(
    model: EdsModel,
) -> None:
    first, again = model.render(papers_view()), model.render(papers_view())
    other = model.render(papers_view(seed=(1, 3)))

    for name in ("frame", "y", "x", "channel", "quadrant", "live_time_s"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert len(first) != len(other)


def test_drift_moves_the_map_frame_by_frame(model: EdsModel) -> None:
    drift_nm = np.linspace(0.0, 210.0, 22)
    still = model.render(papers_view())
    moved = model.render(papers_view(offset_x_nm=drift_nm, offset_y_nm=-drift_nm / 2))

    def middle_px(events: EdsEvents, frame: int) -> float:
        lines = events.channel < 200  # leave out the background from everywhere
        return float(np.median(events.x[lines & (events.frame == frame)]))

    for frame in (0, 10, 21):
        shift_px = middle_px(moved, frame) - middle_px(still, frame)
        assert shift_px == pytest.approx(drift_nm[frame] / 2.134, abs=3.0)


def test_bead_is_seen_at_positive_x_and_y_in_the_image() -> None:
    bead = EdsModel(list_voxels(make_bead()))
    view = undrifted_view(0.0, width_px=128, height_px=96, pixel_nm=2.0, n_frames=40)
    view = replace(view, offset_y_nm=np.full(40, 30.0))
    events = bead.render(view)
    peak = abs((events.channel + 0.5) * CHANNEL_KEV - LINE_KEV["Si"]) < 0.06

    # x = +20 nm from the middle of 128 px; y is moved by 30 nm.
    assert events.x[peak].mean() + 0.5 == pytest.approx(64 + 10, abs=0.3)
    assert events.y[peak].mean() + 0.5 == pytest.approx(48 + 15, abs=0.3)


def test_cut_frame_has_events_only_where_it_was_scanned(model: EdsModel) -> None:
    view = papers_view()
    fraction = np.ones(22)
    fraction[-1] = 0.3
    charge_c = view.frame_charge_c * fraction
    events = model.render(
        replace(view, frame_fraction=fraction, frame_charge_c=charge_c)
    )
    last = events.frame == 21

    assert events.y[last].max() <= 0.3 * 512
    counts = np.bincount(events.frame)
    assert counts[-1] == pytest.approx(0.3 * counts[:-1].mean(), rel=0.15)
    assert events.live_time_s[-1].sum() == pytest.approx(
        0.3 * events.live_time_s[0].sum()
    )
    none = np.zeros(0)
    empty = replace(
        view,
        frame_charge_c=none,
        frame_fraction=none,
        offset_x_nm=none,
        offset_y_nm=none,
    )
    assert len(model.render(empty)) == 0


def test_holder_hides_two_quadrants_beyond_minus_40_deg(model: EdsModel) -> None:
    np.testing.assert_allclose(quadrants_in_view(0.0), 1.0, atol=1e-6)
    np.testing.assert_allclose(quadrants_in_view(60.0), 1.0, atol=1e-6)
    np.testing.assert_allclose(quadrants_in_view(-40.0), [0.5, 1, 1, 0.5], atol=1e-6)
    counts = np.bincount(model.render(papers_view(tilt_deg=-60.0)).quadrant)
    assert counts[[0, 3]].max(initial=0) < 20
    assert counts[1] == pytest.approx(counts[2], rel=0.05)


def test_busy_detector_counts_less_and_says_for_how_long(model: EdsModel) -> None:
    slow, fast = papers_view(), papers_view(dwell_s=19.767e-9)
    events, hurried = model.render(slow), model.render(fast)
    real_s = 512**2 * 19.767e-9

    np.testing.assert_allclose(hurried.live_time_s + hurried.dead_time_s, real_s)
    live_part = hurried.live_time_s.mean() / real_s
    assert live_part < 0.9
    assert len(hurried) == pytest.approx(len(events) * live_part, rel=0.03)
    assert events.dead_time_s.sum() < 0.001 * events.live_time_s.sum()


def test_whole_series_in_memory_shares_the_papers_dose(
    wires: dict[int, SpecimenVoxels],
) -> None:
    tilts = list(render_tilt_series(wires[1], angles_deg=(0, 30, -30), n_frames=2))

    assert [tilt.tilt_deg for tilt in tilts] == [0.0, 30.0, -30.0]
    assert [tilt.view.fluence[0, 0] for tilt in tilts] == pytest.approx(
        [0.0, 1.97e6 / 3, 2 * 1.97e6 / 3]
    )
    charge_c = sum(tilt.view.frame_charge_c.sum() for tilt in tilts)
    assert charge_c / 1.602176634e-19 / (512 * 2.134) ** 2 == pytest.approx(1.97e6)
    assert tilts[0].haadf.counts.shape == (512, 512)
