"""A small tilt series on the simulated microscope, from the plan to the files."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import epics
import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from cryoline.acquisition.cli import main
from cryoline.acquisition.errors import DoseRefused
from cryoline.acquisition.fluence import fluence_of_charge_e_per_nm2
from cryoline.acquisition.low_dose_areas import DisplacedArea
from cryoline.acquisition.session import open_session
from cryoline.acquisition.specimen import Specimen
from cryoline.acquisition.tilt_exposures import Scan, Tracking
from cryoline.acquisition.tilt_schemes import bidirectional
from cryoline.acquisition.tilt_series_plan import tilt_series

pytestmark = [pytest.mark.lab, pytest.mark.timeout(180)]

WIRE = Specimen(name="nw-lab")
PIXELS, PIXEL_NM = 128, 8.536
SCAN = Scan(
    width_px=PIXELS,
    height_px=PIXELS,
    pixel_nm=PIXEL_NM,
    dwell_s=16 * 19.767e-6,
    n_frames=2,
)
TRACKING = Tracking(dwell_s=16 * 4e-6)
SERIES = bidirectional(40, -40, 40)


@dataclass(frozen=True)
class Series:
    session: Any
    events: list[dict[str, Any]]
    images: list[NDArray[np.float64]]
    origin_nm: list[tuple[float, float]]
    """Where the specimen's origin truly was at each event, from the optical axis."""
    charge_c: float
    """What truly fell on the specimen."""
    specimen_file: Path


def truth(name: str) -> float:
    return float(epics.caget(f"SIM:TRUTH:{name}_RBV", timeout=5))


def plan_of(session: Any, **options: Any) -> Any:
    devices = session.devices
    return tilt_series(
        devices["stage"],
        devices["beam"],
        [devices["haadf"], devices["eds"]],
        options.pop("specimen", WIRE),
        clock=devices["clock"],
        **{"scheme": SERIES, "scan": SCAN, "tracking": TRACKING, **options},
    )


@pytest.fixture(scope="module")
def series(instrument: Any) -> Iterator[Series]:
    """Return a finished series of three tilts; made once, for all that look at it."""
    instrument.reset()
    epics.caput("SIM:LAB:Factor", 100, wait=True, timeout=10)
    session = open_session(instrument.config)
    documents: list[tuple[str, dict[str, Any]]] = []
    origin_nm = []

    def look(name: str, doc: dict[str, Any]) -> None:
        documents.append((name, doc))
        if name == "event" and "eds_counts" in doc["data"]:
            origin_nm.append((truth("ShiftX"), truth("ShiftY")))

    before_c = truth("BeamCharge")
    session.RE(plan_of(session), look)
    events = [
        doc["data"]
        for name, doc in documents
        if name == "event" and "eds_counts" in doc["data"]
    ]
    (uri,) = {
        doc["uri"]
        for name, doc in documents
        if name == "stream_resource"
        and "primary" in doc["uri"]
        and "haadf" in doc["uri"]
    }
    with h5py.File(uri.removeprefix("file://localhost"), "r", swmr=True) as file:
        frames = file["/entry/data/data"][...].astype(float)
    specimen_file = instrument.lab.directory / "truth" / "specimen.h5"
    charge_c = truth("BeamCharge") - before_c
    yield Series(session, events, list(frames), origin_nm, charge_c, specimen_file)
    assert session.dose is not None
    session.dose.beat.stop()
    epics.caput("SIM:LAB:Factor", 4000, wait=True, timeout=10)


def test_the_map_follows_the_specimen(series: Series) -> None:
    """Height error, axis error and wobble of the stage: followed to half a pixel."""
    (x0, _), *_ = series.origin_nm
    for event, (x, _) in zip(series.events, series.origin_nm, strict=True):
        assert event["tilt_aim_across_nm"] == pytest.approx(x - x0, abs=PIXEL_NM / 2)


def test_the_ledger_has_charged_what_fell_on_the_specimen(series: Series) -> None:
    usage = series.session.ledger.usage(WIRE.name, "region-1")
    field_nm2 = (PIXELS * PIXEL_NM) ** 2
    fell = fluence_of_charge_e_per_nm2(series.charge_c, field_nm2)

    assert usage.settled_e_per_nm2 == pytest.approx(fell, rel=1e-3)
    assert usage.reserved_e_per_nm2 == 0.0  # the envelope was given back
    last = series.events[-1]
    assert usage.settled_e_per_nm2 == pytest.approx(last["dose_after_e_per_nm2"])


def test_a_positive_tilt_turns_plus_z_toward_plus_x(series: Series) -> None:
    """u = x cos t + z sin t, through world, servers and files, by the wire's own bend.

    The wire is bent by 3 nm along z. Between +40 and -40 deg, the middle of each row
    moves by 2 z sin 40; with the angles negated it would by as much the other way.
    """
    with h5py.File(series.specimen_file, "r") as file:
        voxel_nm = file.attrs["voxel_nm"]
        matter = sum(file[name][...] for name in ("Si", "O", "F", "C", "P"))
    z_nm, y_nm = (
        (np.arange(n) - (n - 1) / 2) * voxel_nm
        for n in (matter.shape[0], matter.shape[2])
    )
    height_nm = np.einsum("zxy,z->y", matter, z_nm) / matter.sum(axis=(0, 1))
    places_nm = np.linspace(-400, 400, 100)

    _, up, down = (middle_nm(series, number, places_nm) for number in range(3))

    expected = 2 * np.interp(places_nm, y_nm, height_nm) * np.sin(np.radians(40))
    slope = np.polyfit(expected, up - down, 1)[0]
    assert slope == pytest.approx(1.0, abs=0.3)


def middle_nm(
    series: Series, number: int, places_nm: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the middle of what is bright at places along the specimen."""
    image = series.images[number]
    above = np.clip(image - np.median(image) - 200.0, 0, None)
    grid_nm = (np.arange(PIXELS) - (PIXELS - 1) / 2) * PIXEL_NM
    lit = above.sum(axis=1) > 0.5 * np.median(above.sum(axis=1))
    middles = above[lit] @ grid_nm / above[lit].sum(axis=1)
    aim_nm = series.events[number]["tilt_aim_along_nm"]
    along_nm = grid_nm[lit] - (series.origin_nm[number][1] - aim_nm)
    return np.interp(places_nm, along_nm, middles)


def test_a_series_over_its_budget_moves_nothing(series: Series) -> None:
    """A budget 5 % below the worst case is too small, whatever the current drifts."""
    session = series.session
    before = session.devices["stage"].alpha_deg.position
    worst = (
        3
        * (4 * TRACKING.dwell_s + SCAN.n_frames * SCAN.dwell_s)
        * session.devices["beam"].current_pa.get()
        * 1.1e-12
    )
    worst_e_per_nm2 = fluence_of_charge_e_per_nm2(worst, PIXEL_NM**2)

    with pytest.raises(DoseRefused) as caught:
        session.RE(plan_of(session, budget_e_per_nm2=worst_e_per_nm2 / 1.05))

    assert "nw-lab" in str(caught.value)
    assert session.devices["stage"].alpha_deg.position == before
    assert session.ledger.usage(WIRE.name, "region-1").reserved_e_per_nm2 == 0.0


def test_images_beside_the_region_keep_it_in_the_field_and_are_charged_there(
    series: Series,
) -> None:
    """490 nm along the wire; the cells of the map never see them."""
    session, beside = series.session, Specimen(name="nw-beside")
    events: list[dict[str, Any]] = []
    origin_nm: list[float] = []

    def look(name: str, doc: dict[str, Any]) -> None:
        if name == "event" and "eds_counts" in doc["data"]:
            events.append(doc["data"])
            origin_nm.append(truth("ShiftX"))

    area = DisplacedArea(offset_nm=490.0, width_px=128, height_px=128, pixel_nm=3.2)
    session.devices["stage"].y_nm.set(200.0).wait(30)
    try:
        session.RE(
            plan_of(
                session,
                specimen=beside,
                scheme=bidirectional(10, -10, 5),
                scan=Scan(
                    width_px=64,
                    height_px=64,
                    pixel_nm=3.2,
                    dwell_s=1e-4,
                    n_frames=2,
                ),
                tracking=Tracking(dwell_s=20e-6, area=area),
            ),
            look,
        )
    finally:
        session.devices["stage"].y_nm.set(0.0).wait(30)

    for event, x_nm in zip(events, origin_nm, strict=True):
        assert event["tilt_aim_across_nm"] == pytest.approx(x_nm, abs=20.0)
    maps = sum(event["dose_fluence_e_per_nm2"] for event in events)
    ledger = session.ledger
    spent = {
        purpose.purpose: purpose.settled_e_per_nm2
        for purpose in ledger.purposes(beside.name, "region-1")
    }
    assert spent["record"] == pytest.approx(maps, rel=1e-6)
    assert spent["tracking"] > 0
    (last,) = events[-1:]
    assert last["dose_after_e_per_nm2"] == pytest.approx(maps, rel=1e-6)
    cells = ledger.fluence_map(beside.name)
    row = abs(cells.y_nm - 490.0).argmin()
    column = abs(cells.x_nm).argmin()
    assert cells.settled_e_per_nm2[row, column] == pytest.approx(
        spent["tracking"], rel=1e-3
    )


def test_a_check_of_a_plan_writes_to_no_device(
    series: Series, instrument: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """It asks beam and stage, and no put of Channel Access is made.

    But for the beat of the session that is open in this process.
    """
    puts: set[str] = set()
    put = epics.ca.put

    def noted(channel: Any, *arguments: Any, **options: Any) -> Any:
        puts.add(epics.ca.name(channel))
        return put(channel, *arguments, **options)

    monkeypatch.setattr(epics.ca, "put", noted)
    arguments = ["--specimen", "nw-new", "--config", str(instrument.config.path)]

    with pytest.raises(SystemExit) as fits:
        main(["check", "tilt-series", *arguments, "--json"])
    found = json.loads(capsys.readouterr().out)
    with pytest.raises(SystemExit) as refused:
        main(["check", "tilt-series", *arguments, "--pixel-nm", "0.9"])

    assert (fits.value.code, refused.value.code) == (0, 1)
    assert found["current_pa"] == series.session.devices["beam"].current_pa.get()
    assert 0 < found["cold"]["at_end_percent"] < found["cold"]["ln2_percent"] <= 100
    assert puts <= {"SIM:BEAM1:SessionBeat"}
