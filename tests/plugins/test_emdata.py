"""Real files of microscopes: results are an independent reader's figures of them."""

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize

from cryoline.analysis.eds import Window, net_counts
from cryoline.analysis.eds_overlap import suspicions
from cryoline.analysis.eels import fit_plasmon, thickness
from cryoline.plugins import registry
from cryoline.plugins.errors import ForeignFile, ReaderError

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("CRYOLINE_SHARED_DATA", REPOSITORY / "../shared/data"))
ALUMINIUM = "eels/AL-DFoffset0.00.dm3"
TILTS = {
    # total, gross Si, O, C, net Si, P/B of Si, net O
    "-20": (895885, 26800, 39798, 18720, 11714.1, 0.776, 32784.0),
    "0": (886553, 28417, 36868, 16654, 14219.8, 1.002, 30739.0),
    "20": (915204, 27645, 40880, 21212, 14942.0, 1.176, 34215.5),
}
"""As a well-kept independent reader counts them, with the sides below."""
SILICON = Window("Si", 1662, 1818, 1739.7, 94.0, ((1580, 1640), (1860, 1920)), 1)
OXYGEN = Window("O", 461, 587, 524.9, 77.0, ((400, 440), (600, 640)), 1)
CARBON = Window("C", 231, 321, 277.4, 74.0, ((150, 190), (370, 420)), 1)


@cache
def read(name):
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{name} is not there: set CRYOLINE_SHARED_DATA to the real files")
    return registry.load("cryoline.spectra", path.suffix[1:])(path)


@cache
def tilt(name):
    """The sum spectrum of a tilt, and its axis; the map itself is not kept."""
    image = read.__wrapped__(f"eds_tilt/{name}.bcf")
    axis = {
        "energy_per_channel_ev": image.energy_per_channel_ev,
        "offset_ev": image.offset_ev,
    }
    maps = image.element_maps((SILICON, OXYGEN, CARBON))
    return image.spectrum(), axis, image.counts.shape, image.pixel_nm, maps


def net(name, window):
    """Of one window alone: as a tool without a common solution counts it."""
    spectrum, axis, *_ = tilt(name)
    return net_counts(spectrum, [window], **axis)


@pytest.mark.recorded
@pytest.mark.parametrize("name", TILTS)
def test_windows_of_a_real_tilt_hold_what_the_peer_counts(name) -> None:
    total, *gross, silicon, ratio, oxygen = TILTS[name]

    spectrum, axis, shape, pixel_nm, maps = tilt(name)

    assert shape == (256, 256, 2048)
    assert pixel_nm == pytest.approx(13.08, abs=0.005)
    assert axis["energy_per_channel_ev"] == pytest.approx(10.003)
    assert spectrum.sum() == total
    found = [net(name, window) for window in (SILICON, OXYGEN, CARBON)]
    assert [one.gross[0] for one in found] == gross  # to the count
    assert maps.gross.sum(axis=(1, 2), dtype=float).tolist() == gross  # pixel by pixel
    assert found[0].net[0] == pytest.approx(silicon, abs=0.06)
    assert found[0].peak_to_background[0] == pytest.approx(ratio, abs=6e-4)
    assert found[1].net[0] == pytest.approx(oxygen, abs=0.06)


def reasons(name, *windows):
    spectrum, axis, *_ = tilt(name)
    return [str(one.reason) for one in suspicions(spectrum, windows, **axis)]


@pytest.mark.recorded
@pytest.mark.parametrize("name", TILTS)
def test_nets_beside_magnesium_and_aluminium_are_flagged(name) -> None:
    aluminium = "background window 1580 to 1640 eV lies on the line of Al"
    assert aluminium in reasons(name, SILICON)
    # As common tools choose a background window: on Mg K alpha, or below 0 eV.
    on_magnesium = SILICON._replace(sides_ev=((1220, 1300), (1860, 1920)))
    magnesium = "background window 1220 to 1300 eV lies on the line of Mg"
    assert magnesium in reasons(name, on_magnesium)
    assert net(name, on_magnesium).net[0] < 0.85 * net(name, SILICON).net[0]
    below_zero = CARBON._replace(sides_ev=((-120, -20), (370, 420)))
    assert any("reaches below 100 eV" in r for r in reasons(name, below_zero))


@pytest.mark.recorded
def test_a_net_below_zero_is_flagged() -> None:
    on_noise = CARBON._replace(sides_ev=((-30, 30),), degree=0)

    assert net("0", on_noise).net[0] < 0
    assert any("are below 0" in reason for reason in reasons("0", on_noise))


@cache
def aluminium():
    image = read(ALUMINIUM)
    # In the camera's units, with a dark level that has noise of its own.
    return image.counts.astype(float), image.energy_ev


@pytest.mark.recorded
@pytest.mark.parametrize(
    ("model", "energy_ev"), [("lorentzian", 15.044), ("drude", 15.049)]
)
def test_aluminium_s_plasmon_lies_where_the_peer_finds_it(model, energy_ev) -> None:
    counts, axis_ev = aluminium()

    fit = fit_plasmon(
        counts, axis_ev, model=model, window_ev=(13.5, 16.5), readout_sigma=3000.0
    )

    assert fit.energy_ev == pytest.approx(energy_ev, abs=0.004)
    assert fit.zero_loss_ev == pytest.approx(-0.1346, abs=0.003)
    # Without alignment it would be off by that.
    assert abs(fit.energy_ev + fit.zero_loss_ev - energy_ev) > 0.1
    # The peer's width, 0.72 eV, has the resolution in it.
    assert 0.55 < fit.width_ev < 0.72


@pytest.mark.recorded
def test_aluminium_s_second_plasmon_lies_twice_as_high() -> None:
    counts, axis_ev = aluminium()

    fit = fit_plasmon(
        counts, axis_ev, model="lorentzian", window_ev=(28.5, 32), readout_sigma=3000.0
    )

    assert fit.energy_ev == pytest.approx(30.14, abs=0.12)
    # The rest is the background. It falls there by 7 % an eV, and a level under the
    # line, which is all that we know, draws it down: scipy's line by as much as ours.
    # On a slope that is fitted, too, it lies where the peer's does.
    loss_ev = axis_ev - fit.zero_loss_ev
    inside = (loss_ev >= 28.5) & (loss_ev < 32)
    x, y = loss_ev[inside] - 30, counts[inside] / counts[inside].max()

    def line(x, energy, half, height, level, slope=0.0):
        return height / (1 + ((x - energy) / half) ** 2) + level + slope * x

    guess = (0.0, 0.7, np.ptp(y), y.min(), 0.0)
    on_level, _ = optimize.curve_fit(line, x, y, guess[:4])
    on_slope, _ = optimize.curve_fit(line, x, y, guess)
    assert fit.energy_ev == pytest.approx(30 + on_level[0], abs=0.005)
    assert 30 + on_slope[0] == pytest.approx(30.14, abs=0.015)


@pytest.mark.recorded
@pytest.mark.parametrize(("cut_ev", "expected"), [(2, 0.176), (3, 0.172), (5, 0.164)])
def test_aluminium_is_as_thick_as_the_peer_says(cut_ev, expected) -> None:
    counts, axis_ev = aluminium()

    found = thickness(
        np.maximum(counts, 0.0), axis_ev, zero_loss_ev=-0.1346, cut_ev=cut_ev
    )

    assert found.t_over_lambda == pytest.approx(expected, abs=0.001)


@pytest.mark.parametrize("name", ["bcf", "dm3"])
def test_a_file_of_another_kind_is_named(name, tmp_path) -> None:
    path = tmp_path / f"map.{name}"
    path.write_bytes(b"nothing of the kind")
    reader = registry.load("cryoline.spectra", name)

    with pytest.raises(ForeignFile, match=rf"map\.{name}: begins with b'noth"):
        reader(path)
    with pytest.raises(ReaderError, match="no such file; give the path"):
        reader(tmp_path / "other")


def test_a_file_that_was_cut_is_named(tmp_path) -> None:
    path = tmp_path / "map.bcf"
    path.write_bytes(b"AAMVHFSS" + bytes(40))

    with pytest.raises(ReaderError, match="RosettaSciIO can't read it"):
        registry.load("cryoline.spectra", "bcf")(path)


def test_without_the_extra_the_error_names_it() -> None:
    code = (
        "import sys; sys.modules['rsciio'] = None\n"
        "from cryoline.plugins import registry\n"
        "try: registry.load('cryoline.spectra', 'bcf')\n"
        "except registry.PluginError as error: print(error)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert "pip install 'cryoline[emdata]'" in done.stdout


def test_nothing_but_its_plugin_imports_the_gpl_library() -> None:
    folders = ("acquisition", "analysis", "devices", "ioc", "plugins", "sim")
    found = [
        path.name
        for folder in folders
        for path in (REPOSITORY / folder).rglob("*.py")
        if any(
            line.split()[:1] in (["import"], ["from"]) and "rsciio" in line
            for line in path.read_text().splitlines()
        )
    ]

    assert found == ["emdata.py"]
