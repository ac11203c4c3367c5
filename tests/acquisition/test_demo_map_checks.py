"""Each line on transfer, dose, counts and volumes can fail; each sabotage makes one."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cryoline.acquisition.demo_checks import Line
from cryoline.acquisition.demo_map_checks import (
    CORRELATION,
    HANDEDNESS,
    NET_COUNTS,
    PEAK_TO_BACKGROUND,
    SI_CHANNEL,
    count_lines,
    dose_lines,
    transfer_lines,
    volume_lines,
)
from cryoline.acquisition.demo_sabotage import SABOTAGES, spoil
from cryoline.analysis.eds import HE_2021, windows_of
from cryoline.devices.exposure import ExposureResult, Outcome

LOG: dict[str, Any] = {
    "carrier_place": ["cell", "glovebox", "pot", "holder", "microscope"],
    "carrier_temperature_max_degc": [25.0, 25.0, 25.0, -190.0, -175.0],
    "carrier_air_s": [0.0, 0.0, 0.0, 0.0, 10.0],
    "glovebox_h2o_ppm": [0.4, 0.5, 0.6, 0.5, 0.5],
    "glovebox_pressure_mbar": [1003.0, 1004.0, 1003.5, 1004.0, 1003.0],
}
MAPS = {"seq_num": list(range(1, 26)), "beam_outcome": [1] * 25}
DOSE: dict[str, Any] = {
    "tilts": 25,
    "settled_e_per_nm2": 2.27e6,
    "limit_e_per_nm2": 1e7,
    "charged_c": 4.35e-7,
    "fell_c": 4.3501e-7,
}
SCORES = {**dict.fromkeys(CORRELATION, 0.99), "handedness": 1.0}


def counts() -> dict[str, list[float]]:
    return {
        **{f"{e}_net": [sum(band) / 2] * 25 for e, band in NET_COUNTS.items()},
        **{
            f"{e}_peak_to_background": [sum(band) / 2] * 25
            for e, band in PEAK_TO_BACKGROUND.items()
        },
    }


def spectra(peak: float = sum(SI_CHANNEL) / 2) -> NDArray[np.float64]:
    found = np.zeros((25, 1024))
    found[:, 173] = peak
    return found


def failing(lines: list[Line]) -> list[str]:
    return [line.name for line in lines if not line.holds]


def test_a_good_story_holds_on_every_line() -> None:
    assert failing(transfer_lines(LOG)) == []
    assert failing(dose_lines(MAPS, **DOSE)) == []
    assert failing(count_lines(counts(), spectra())) == []
    assert failing(volume_lines(SCORES)) == []


def test_a_band_over_seeds_is_narrow_enough_to_say_something() -> None:
    bands = [*NET_COUNTS.values(), *PEAK_TO_BACKGROUND.values(), SI_CHANNEL]
    assert all(0 < low < high < 3 * low for low, high in bands)
    assert min(CORRELATION.values()) > 0.4
    assert HANDEDNESS > 0.3


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"carrier_temperature_max_degc": [25, 25, 25, -130, -130]}, "warmest since"),
        ({"carrier_place": ["cell"] * 5}, "warmest since cold"),
        ({"carrier_air_s": [0, 0, 0, 0, 16]}, "time in air"),
        ({"glovebox_h2o_ppm": [6.0, 0, 0, 0, 0]}, "box water, worst"),
        ({"glovebox_pressure_mbar": [990.0, 1004, 1004, 1004, 1004]}, "box pressure"),
    ],
)
def test_a_bad_transfer_fails(change: dict[str, Any], line: str) -> None:
    (name,) = failing(transfer_lines(LOG | change))

    assert name.startswith(line)


def test_a_lost_tilt_and_a_cut_exposure_fail() -> None:
    lost = {name: values[:24] for name, values in MAPS.items()}
    cut = MAPS | {"beam_outcome": [1] * 24 + [3]}

    assert failing(dose_lines(lost, **DOSE)) == ["tilts", "complete exposures"]
    assert failing(dose_lines(cut, **DOSE)) == ["complete exposures"]


def test_counts_volumes_and_handedness_fail_on_both_sides() -> None:
    halved = {name: [v / 3 for v in values] for name, values in counts().items()}

    assert len(failing(count_lines(halved, spectra(1.0)))) == 9
    assert failing(volume_lines(SCORES | {"F": 0.1})) == ["F volume"]
    assert failing(volume_lines(SCORES | {"Si": math.nan})) == ["Si volume"]


class Ledger:
    """Charges what it is told."""

    charged_c = 0.0

    def settle(self, ticket_uid: str, result: ExposureResult) -> None:
        self.charged_c += result.charge_c


class Stage:
    name = "stage"

    def read(self) -> dict[str, Any]:
        return {
            "stage_alpha_deg": {"value": 30.0, "timestamp": 0.0},
            "stage_x_nm": {"value": 5.0, "timestamp": 0.0},
        }


@pytest.fixture
def session() -> Any:
    return SimpleNamespace(devices={"stage": Stage()}, ledger=Ledger())


def test_nothing_is_spoiled_unless_asked(session: Any) -> None:
    spoiled = spoil(None, session)

    assert spoiled.stage is session.devices["stage"]
    assert spoiled.md == {}
    assert SABOTAGES == ("angles", "windows", "background", "dose")


def test_spoiled_angles_have_the_other_sign_and_turn_the_volume_over(
    session: Any,
) -> None:
    stage = spoil("angles", session).stage

    assert stage.name == "stage"
    assert stage.read()["stage_alpha_deg"]["value"] == -30.0
    assert stage.read()["stage_x_nm"]["value"] == 5.0
    # What that does to a volume: test_demo_truth, test_handedness.
    assert failing(volume_lines(SCORES | {"handedness": -0.7})) == ["handedness"]


def test_spoiled_windows_miss_the_lines_of_every_element(session: Any) -> None:
    windows = windows_of(spoil("windows", session).md["eds_windows"])

    for spoiled, window in zip(windows, HE_2021, strict=True):
        assert not spoiled.low_ev < window.line_ev < spoiled.high_ev


def test_a_spoiled_background_leaves_none_to_compare_with(session: Any) -> None:
    windows = windows_of(spoil("background", session).md["eds_windows"])

    assert all(window.sides_ev == ((9000.0, 9900.0),) for window in windows)
    no_background = counts() | {"F_peak_to_background": [math.nan] * 25}
    assert failing(count_lines(no_background, spectra())) == ["F peak/background"]


def test_a_spoiled_dose_shows_against_the_truth(session: Any) -> None:
    spoil("dose", session)
    session.ledger.settle(
        "t",
        ExposureResult(
            ticket_uid="t",
            outcome=Outcome.COMPLETE,
            charge_c=1e-8,
            beam_on_s=1.0,
            frames=1,
            counter=1,
            boot_id="b",
        ),
    )

    assert session.ledger.charged_c == pytest.approx(0.9e-8)
    undercharged = DOSE | {"charged_c": 0.9 * DOSE["charged_c"]}
    assert failing(dose_lines(MAPS, **undercharged)) == ["charge by the ledger"]
