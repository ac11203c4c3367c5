"""An exposure that was cut is charged where it was, against the world's own account."""

import math
from pathlib import Path

import numpy as np
import pytest

from cryoline.acquisition.dose import DoseLedger
from cryoline.devices.exposure import Exposure, ExposureResult, Outcome
from cryoline.sim.fluence_map import CELL_NM, FluenceMap

E_C = 1.602176634e-19


@pytest.fixture
def ledger(tmp_path: Path) -> DoseLedger:
    return DoseLedger(tmp_path / "dose.sqlite", limit_e_per_nm2=1e7)


def cut_at(
    ledger: DoseLedger, exposure: Exposure, frames: float, outcome=Outcome.CUT
) -> ExposureResult:
    """Reserve and settle an exposure of 150 pA that ended after so many frames."""
    ticket = ledger.reserve(
        exposure, current_pa=150, current_limit_pa=165, boot_id="b", counter=0
    )
    on_s = exposure.beam_on_s * frames / exposure.n_frames
    result = ExposureResult(
        ticket_uid=ticket.uid,
        outcome=outcome,
        charge_c=150e-12 * on_s,
        beam_on_s=on_s,
        frames=int(frames),
        counter=1,
        boot_id="b",
    )
    ledger.settle(ticket.uid, result)
    return result


@pytest.mark.parametrize("frames", [0.3, 1.0, 2.62, 4.0])
@pytest.mark.parametrize(("rotation_deg", "tilt_deg"), [(0, 0), (90, 40), (-35, -55)])
def test_cut_frame_is_charged_where_it_was_scanned(
    ledger, frames, rotation_deg, tilt_deg
) -> None:
    exposure = Exposure(
        specimen="w",
        width_px=96,
        height_px=64,
        pixel_nm=4.0,
        dwell_s=1e-4,
        n_frames=4,
        rotation_deg=rotation_deg,
        tilt_deg=tilt_deg,
    )
    cut_at(ledger, exposure, frames, Outcome.COMPLETE if frames == 4 else Outcome.CUT)
    world = FluenceMap()
    half_x, half_y = exposure.width_nm / 2, exposure.height_nm / 2
    frame_c = 150e-12 * exposure.beam_on_s / 4
    for k in range(math.ceil(frames)):
        part = min(1.0, frames - k)
        world.deposit(
            part * frame_c,
            tilt_deg=tilt_deg,
            low_nm=(-half_x, -half_y),
            high_nm=(half_x, -half_y + part * 2 * half_y),
            rotation_deg=rotation_deg,
        )
    booked = ledger.fluence_map("w", cell_nm=CELL_NM)
    one = frame_c / E_C / exposure.area_nm2
    rows_w, columns_w = world.cells.shape
    # Each cell of the ledger's map has its own four neighbours in the world's.
    place_x = booked.x_nm / CELL_NM + columns_w / 2 - 0.5
    place_y = booked.y_nm / CELL_NM + rows_w / 2 - 0.5
    near = [
        world.cells[np.ix_(f(place_y).astype(int), g(place_x).astype(int))]
        for f in (np.floor, np.ceil)
        for g in (np.floor, np.ceil)
    ]
    settled = booked.settled_e_per_nm2
    least, most = np.min(near, axis=0), np.max(near, axis=0)

    assert settled.max() == pytest.approx(math.ceil(frames) * one, rel=1e-3)
    # No cell holds less than the least around it; more by a line of the scan at most.
    assert (settled >= least - 0.02 * one).all()
    assert (settled <= most + 0.51 * one).all()
    charge_c = settled.sum() * CELL_NM**2 * math.cos(math.radians(tilt_deg)) * E_C
    assert charge_c == pytest.approx(frames * frame_c, rel=0.06)
    assert charge_c >= frames * frame_c * (1 - 1e-6)


FRAME = Exposure(specimen="w", width_px=64, height_px=64, pixel_nm=4.0, dwell_s=1e-4)


def test_cut_exposure_is_not_over_and_is_charged_once(ledger) -> None:
    result = cut_at(ledger, FRAME, 0.25, Outcome.MAX_CHARGE)
    before = ledger.usage("w", "region-1")
    again = ledger.settle(result.ticket_uid, result)
    whole = 150e-12 * FRAME.beam_on_s / E_C / FRAME.area_nm2

    assert before.settled_e_per_nm2 == pytest.approx(whole, rel=1e-5)
    assert not again.over
    assert ledger.usage("w", "region-1") == before


def test_beam_that_is_parked_is_charged_by_its_charge(ledger) -> None:
    spot = Exposure(
        specimen="w",
        width_px=1,
        height_px=1,
        pixel_nm=2.0,
        dwell_s=1e-3,
        beam_diameter_nm=500.0,
    )
    result = cut_at(ledger, spot, 0.5)
    usage = ledger.usage("w", "region-1")
    mean = result.charge_c / E_C / (math.pi * 250.0**2)

    assert usage.settled_e_per_nm2 == pytest.approx(mean * (0.95 + 0.05 / 4), rel=0.03)
