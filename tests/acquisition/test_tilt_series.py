"""The plan's own promises, on a microscope of plain Python behind a real RunEngine.

What one exposure promises is shown in test_expose.py; here it is taken for granted.
"""

import math
import threading
from collections.abc import Sequence
from typing import Any

import bluesky.plan_stubs as bps
import numpy as np
import pytest
from bluesky import Msg, RunEngine
from bluesky.utils import MsgGenerator, RunEngineInterrupted
from event_model import DocumentNames, schema_validators
from numpy.typing import NDArray
from ophyd.sim import NullStatus
from ophyd.status import Status

from cryoline.acquisition import tilt_series_plan as module
from cryoline.acquisition.dose_columns import DoseColumns
from cryoline.acquisition.dose_plan import plan_dose
from cryoline.acquisition.dose_records import Settlement
from cryoline.acquisition.errors import DoseRefused, PlanRefused, SpecimenLost
from cryoline.acquisition.low_dose_areas import DisplacedArea
from cryoline.acquisition.specimen import Specimen
from cryoline.acquisition.tilt_exposures import (
    Scan,
    Tracking,
    worst_case_tilt_series,
)
from cryoline.acquisition.tilt_schemes import Scheme, bidirectional, continuous
from cryoline.acquisition.tilt_series_plan import tilt_series
from cryoline.devices.errors import MoveFailed
from cryoline.devices.exposure import Exposure, ProbeCurrent, Purpose

WIRE = Specimen(name="nw-01", ancestors=("cell-01",))
SCAN = Scan(width_px=128, height_px=96, pixel_nm=8.0, n_frames=3)
SERIES = bidirectional(30, -30, 10)
KNOTS_NM = (-220.0, -90.0, 130.0, 260.0, 950.0, 1040.0, 1180.0, 1260.0)
ASIDE = DisplacedArea(offset_nm=1100.0, width_px=64, height_px=64)


class Reading:
    """A device with one reading."""

    parent = None

    def __init__(self, name: str, value: float = 0.0) -> None:
        self.name = name
        self.value = value

    @property
    def hints(self) -> dict[str, Any]:
        return {"fields": [self.name]}

    def read(self) -> dict[str, Any]:
        return {self.name: {"value": self.value, "timestamp": 0.0}}

    def describe(self) -> dict[str, Any]:
        return {self.name: {"source": "x", "dtype": "number", "shape": []}}

    def read_configuration(self) -> dict[str, Any]:
        return {}

    def describe_configuration(self) -> dict[str, Any]:
        return {}


class Clock(Reading):
    """Instrument time, which passes only when somebody waits for it."""

    def set(self, value: float) -> Status:
        self.value += value
        return NullStatus()


class Axis(Reading):
    """The tilt of the stage; every move takes 2 s."""

    limits = (-70.0, 70.0)

    def __init__(self, clock: Clock) -> None:
        super().__init__("stage_alpha_deg")
        self.moves: list[float] = []
        self.arrives_late_by = 0.0
        self.failure: Exception | None = None
        self.holds = threading.Event()
        self.holds.set()
        self._clock = clock

    def set(self, value: float) -> Status:
        self.moves.append(value)
        if self.failure is not None:
            status = Status()
            status.set_exception(self.failure)
            return status
        status = Status()

        def go() -> None:
            self.holds.wait(10)
            self._clock.value += 2.0
            self.value = value - self.arrives_late_by
            status.set_finished()

        threading.Thread(target=go, daemon=True).start()
        return status


class Stage(Reading):
    """A stage with its tilt as an axis."""

    def __init__(self, clock: Clock) -> None:
        super().__init__("stage_alpha_deg")
        self.alpha_deg = Axis(clock)

    def read(self) -> dict[str, Any]:
        return self.alpha_deg.read()


class Camera(Reading):
    """Gives the image of the exposure that was made last."""

    def __init__(self) -> None:
        super().__init__("haadf_mean_counts")
        self.staged = 0
        self.image: NDArray[np.float64] = np.zeros((8, 8))

    def last_frame(self) -> NDArray[np.float64]:
        return self.image

    def stage(self) -> list[Any]:
        self.staged += 1
        return [self]

    def unstage(self) -> list[Any]:
        self.staged -= 1
        return [self]


class SoftMicroscope:
    """A wire on a stage that errs, a stand-in for `expose`, and the dose's messages."""

    def __init__(self) -> None:
        self.clock = Clock("clock_instrument_time_s")
        self.stage = Stage(self.clock)
        self.haadf = Camera()
        self.exposures: list[tuple[Exposure, str, float]] = []
        """With the stream, and the stage's tilt at the time."""
        self.messages: list[Msg] = []
        self.refusal: Exception | None = None
        self.height_nm = 300.0
        self.drift_nm_per_min = 0.0
        self.drift_ends_s = math.inf
        self.is_gone_at: float | None = None
        self._rng = np.random.default_rng(4)
        self._wobble = {0.0: (0.0, 0.0)}
        self.spent = 0.0

    def plan(self, scheme: Scheme = SERIES, **options: Any) -> MsgGenerator[str]:
        return tilt_series(
            self.stage,
            Reading("beam"),
            [self.haadf],
            WIRE,
            scheme=scheme,
            clock=self.clock,
            **{"scan": SCAN, **options},
        )

    def true_nm(self) -> tuple[float, float]:
        """Where the wire is seen now, from the optical axis."""
        tilt = self.stage.alpha_deg.value
        wobble = self._wobble.setdefault(tilt, tuple(self._rng.normal(0, 30.0, 2)))
        drift = self.drift_nm_per_min * min(self.clock.value, self.drift_ends_s) / 60
        return (
            self.height_nm * math.sin(math.radians(tilt)) + wobble[0] + drift,
            wobble[1],
        )

    def expose(
        self,
        beam: Any,
        detectors: Sequence[Any],
        exposure: Exposure,
        *,
        stream: str,
        also: Sequence[Any],
    ) -> MsgGenerator[None]:
        yield from bps.checkpoint()
        self.clock.value += exposure.duration_s
        self.exposures.append((exposure, stream, self.stage.alpha_deg.value))
        self.haadf.image = self._image(exposure)
        cost = 100.0 * exposure.n_frames
        settled = Settlement("ticket", cost, cost, False, self.spent, self.spent + cost)
        self.spent += cost
        yield from bps.create(name=stream)
        for device in (beam, DoseColumns(settled), *also, *detectors):
            yield from bps.read(device)
        yield from bps.save()
        yield from bps.checkpoint()

    def _image(self, exposure: Exposure) -> NDArray[np.float64]:
        across, along = self.true_nm()
        x, y = (
            (np.arange(n) - (n - 1) / 2) * exposure.pixel_nm
            for n in (exposure.width_px, exposure.height_px)
        )
        x = x[None, :] - (across - exposure.center_x_nm)
        y = y[:, None] - (along - exposure.center_y_nm)
        wire = np.exp(-((x / 60.0) ** 2)) + 0 * y
        for knot in KNOTS_NM:
            aside = 40.0 * math.sin(knot)
            wire = wire + np.exp(-(((x - aside) ** 2 + (y - knot) ** 2) / 40.0**2))
        if self.stage.alpha_deg.value == self.is_gone_at:
            wire *= 0
        return self._rng.poisson(40.0 * wire + 4.0).astype(float)


@pytest.fixture
def scope(monkeypatch: pytest.MonkeyPatch) -> SoftMicroscope:
    scope = SoftMicroscope()
    monkeypatch.setattr(module, "expose", scope.expose)
    return scope


@pytest.fixture
def engine(scope: SoftMicroscope) -> RunEngine:
    engine = RunEngine({}, context_managers=[])

    async def preflight(msg: Msg) -> str:
        scope.messages.append(msg)
        if scope.refusal is not None:
            raise scope.refusal
        return "series-1"

    async def probe_current(msg: Msg) -> ProbeCurrent:
        return ProbeCurrent(current_pa=150.0, age_s=1.0, current_max_pa=500.0)

    async def close_series(msg: Msg) -> None:
        scope.messages.append(msg)

    engine.register_command("preflight", preflight)
    engine.register_command("close_series", close_series)
    engine.register_command("probe_current", probe_current)
    return engine


@pytest.fixture
def documents(engine: Any) -> list[tuple[str, dict[str, Any]]]:
    documents: list[tuple[str, dict[str, Any]]] = []
    engine.subscribe(lambda *doc: documents.append(doc))
    return documents


def named(documents: list[tuple[str, dict[str, Any]]], name: str) -> list[Any]:
    return [doc for kind, doc in documents if kind == name]


def events_of(documents: list[tuple[str, dict[str, Any]]], stream: str) -> list[Any]:
    uids = [d["uid"] for d in named(documents, "descriptor") if d["name"] == stream]
    return [e["data"] for e in named(documents, "event") if e["descriptor"] in uids]


def test_the_whole_series_is_reserved_before_anything_else(
    scope: SoftMicroscope,
) -> None:
    tracking = Tracking(drift_retries=1)
    messages = scope.plan(tracking=tracking, budget_e_per_nm2=5e6, region="tip")

    first = next(messages)

    assert first.command == "preflight"
    assert first.kwargs["budget_e_per_nm2"] == 5e6
    assert first.args[0] == worst_case_tilt_series(
        WIRE, region="tip", scheme=SERIES, scan=SCAN, tracking=tracking
    )


def test_one_event_a_tilt_in_the_order_of_the_scheme(
    engine: Any, scope: SoftMicroscope, documents: list[Any]
) -> None:
    (uid,) = engine(scope.plan())

    for name, doc in documents:
        schema_validators[DocumentNames[name]].validate(doc)
    maps = events_of(documents, "primary")
    assert [e["tilt_target_deg"] for e in maps] == list(SERIES.angles_deg)
    assert [e["stage_alpha_deg"] for e in maps] == list(SERIES.angles_deg)
    assert [e["tilt_index"] for e in maps] == list(range(7))
    assert [e["tilt_branch"] for e in maps] == list(SERIES.branches)
    assert all(e["tilt_at_rest"] == 1.0 for e in maps)
    # Two images find the specimen and see that it rests.
    assert len(events_of(documents, "tracking")) == 14
    assert named(documents, "start")[0]["uid"] == uid
    assert scope.haadf.staged == 0
    assert [m.command for m in scope.messages] == ["preflight", "close_series"]


def test_what_is_exposed_is_what_was_reserved(
    engine: RunEngine, scope: SoftMicroscope
) -> None:
    engine(scope.plan())

    reserved = list(scope.messages[0].args[0])
    for made, _, tilt in scope.exposures:
        assert made.tilt_deg == tilt
        reserved.remove(
            made.model_copy(update={"center_x_nm": 0.0, "center_y_nm": 0.0})
        )
    assert {e.purpose for e in reserved} == {Purpose.TRACKING}  # for drift


def test_every_map_is_aimed_at_the_specimen(
    engine: RunEngine, scope: SoftMicroscope
) -> None:
    """300 nm above the axis and 30 nm of wobble: centred within a pixel of 8 nm."""
    engine(scope.plan())

    for made, stream, tilt in scope.exposures:
        if stream == "primary":
            scope.stage.alpha_deg.value = tilt
            across, along = scope.true_nm()
            assert made.center_x_nm == pytest.approx(across, abs=8.0)
            assert made.center_y_nm == pytest.approx(along, abs=8.0)


def test_a_specimen_is_tracked_by_what_lies_beside_the_region(
    engine: Any, scope: SoftMicroscope, documents: list[Any]
) -> None:
    """The images are taken 1100 nm along the axis, the maps where they always are."""
    engine(scope.plan(tracking=Tracking(area=ASIDE)))

    for made, stream, tilt in scope.exposures:
        scope.stage.alpha_deg.value = tilt
        across, along = scope.true_nm()
        if stream == "primary":
            assert made.offset_y_nm == 0.0
            assert made.center_x_nm == pytest.approx(across, abs=8.0)
            assert made.center_y_nm == pytest.approx(along, abs=8.0)
        else:
            assert (made.offset_y_nm, made.width_px) == (1100.0, 64)
            assert made.center_y_nm == pytest.approx(1100.0 + along, abs=150.0)
    (aims,) = {tuple(e["tilt_aim_along_nm"] for e in events_of(documents, "primary"))}
    assert max(map(abs, aims)) < 150.0  # of the region, not of the area beside it


def test_an_area_that_lies_on_the_region_is_refused_before_anything_is_asked(
    engine: RunEngine, scope: SoftMicroscope
) -> None:
    near = ASIDE.model_copy(update={"offset_nm": 600.0})

    with pytest.raises(PlanRefused, match="too near to the region: 1052 nm are"):
        engine(scope.plan(tracking=Tracking(area=near)))

    assert not scope.messages


def test_a_total_is_turned_into_frames_at_the_current_that_was_measured(
    engine: Any, scope: SoftMicroscope, documents: list[Any]
) -> None:
    total_e_per_nm2 = 2e5
    expected = plan_dose(
        SERIES, SCAN, total_e_per_nm2=total_e_per_nm2, current_pa=150.0
    )

    engine(scope.plan(total_e_per_nm2=total_e_per_nm2))

    assert named(documents, "start")[0]["frames_per_tilt"] == list(expected.frames)
    assert named(documents, "start")[0]["total_e_per_nm2"] == total_e_per_nm2
    made = [e.n_frames for e, stream, _ in scope.exposures if stream == "primary"]
    assert made == list(expected.frames)
    assert set(made) - {3}  # not what the scan had said


def test_an_event_says_what_was_predicted_measured_and_charged(
    engine: Any, scope: SoftMicroscope, documents: list[Any]
) -> None:
    engine(scope.plan(tracking=Tracking(height_nm=300.0)))

    maps = events_of(documents, "primary")
    sine = math.sin(math.radians(10))
    begun_nm = maps[0]["tilt_measured_across_nm"]
    assert maps[1]["tilt_predicted_across_nm"] == pytest.approx(begun_nm + 300.0 * sine)
    assert maps[1]["tilt_measured_across_nm"] == maps[1]["tilt_aim_across_nm"]
    assert maps[0]["dose_prior_e_per_nm2"] == 200.0  # of two images
    assert maps[0]["dose_fluence_e_per_nm2"] == 300.0
    assert maps[0]["dose_after_e_per_nm2"] == 500.0
    assert maps[1]["dose_prior_e_per_nm2"] == 700.0
    images = events_of(documents, "tracking")
    assert [e["dose_after_e_per_nm2"] for e in images[:3]] == [100.0, 200.0, 600.0]
    keys = {
        name: key
        for descriptor in named(documents, "descriptor")
        for name, key in descriptor["data_keys"].items()
    }
    assert keys["dose_after_e_per_nm2"]["units"] == "e/nm2"
    assert keys["tilt_drift_nm_per_min"]["units"] == "nm/min"


def test_the_start_document_says_what_was_asked(
    engine: Any, scope: SoftMicroscope, documents: list[Any]
) -> None:
    engine(scope.plan(budget_e_per_nm2=2e6, region="tip", md={"purpose": "test"}))

    start = named(documents, "start")[0]
    assert start["technique"] == "tilt-eds"
    assert start["specimen"] == "nw-01"
    assert start["ancestors"] == ["cell-01"]
    assert start["region"] == "tip"
    assert start["scheme"]["name"] == "bidirectional"
    assert start["angles_deg"] == list(SERIES.angles_deg)
    assert start["scan"]["width_px"] == 128
    assert start["frames_per_tilt"] == [3] * 7
    assert start["tracking"]["drift_retries"] == 2
    assert start["budget_e_per_nm2"] == 2e6
    assert start["dose_series"] == "series-1"
    assert start["purpose"] == "test"


def test_a_drifting_specimen_is_waited_for(
    engine: Any, scope: SoftMicroscope, documents: list[Any]
) -> None:
    scope.drift_nm_per_min, scope.drift_ends_s = 30.0, 40.0

    engine(scope.plan(continuous(0, 10, 10)))

    first, second = events_of(documents, "primary")
    images = [e["tilt_index"] for e in events_of(documents, "tracking")]
    assert images.count(0) == 4  # 0, 23 s: drifts; 46 s: drifts; 69 s: rests
    assert first["tilt_at_rest"] == 1.0
    assert first["tilt_drift_nm_per_min"] < 10.0
    assert images.count(1) == 2
    assert second["tilt_at_rest"] == 1.0


def test_a_specimen_that_never_rests_is_mapped_and_said_to_drift(
    engine: Any, scope: SoftMicroscope, documents: list[Any]
) -> None:
    scope.drift_nm_per_min = 30.0

    engine(scope.plan(continuous(0, 10, 10), tracking=Tracking(drift_retries=1)))

    maps = events_of(documents, "primary")
    assert len(events_of(documents, "tracking")) == 6
    assert [e["tilt_at_rest"] for e in maps] == [0.0, 0.0]
    assert maps[1]["tilt_drift_nm_per_min"] == pytest.approx(30.0, rel=0.2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"scheme": bidirectional(65, -60, 5)},
            "stage_alpha_deg: 65 deg is outside -60..60 deg; choose a smaller tilt, "
            "or raise tilt_limit_deg if the holder allows it",
        ),
        (
            {"scheme": bidirectional(60, -75, 5), "tilt_limit_deg": 80.0},
            "stage_alpha_deg: -75 deg is outside -70..70 deg; "
            "choose a tilt that the stage can reach",
        ),
        (
            {"budget_e_per_nm2": 0},
            "tilt_series: budget_e_per_nm2 = 0 e/nm2; give more than 0 e/nm2, or none "
            "for all that the ledger leaves",
        ),
        (
            {"budget_e_per_nm2": math.nan},
            "tilt_series: budget_e_per_nm2 = nan e/nm2; give more than 0 e/nm2, or "
            "none for all that the ledger leaves",
        ),
    ],
)
def test_an_impossible_series_is_refused_before_anything_is_asked(
    engine: RunEngine,
    scope: SoftMicroscope,
    documents: list[Any],
    options: dict[str, Any],
    message: str,
) -> None:
    with pytest.raises(PlanRefused) as caught:
        engine(scope.plan(**options))

    assert str(caught.value) == message
    assert not documents
    assert not scope.messages
    assert not scope.stage.alpha_deg.moves


def test_detectors_that_give_no_image_are_refused(
    engine: RunEngine, scope: SoftMicroscope
) -> None:
    beam, eds = Reading("beam"), Reading("eds")
    for detectors, message in (
        ([], "no detectors; give at least one, the first for tracking"),
        ([eds], "eds gives no images to track by; give a detector first that does"),
    ):
        with pytest.raises(PlanRefused, match=message):
            engine(
                tilt_series(
                    scope.stage,
                    beam,
                    detectors,
                    WIRE,
                    scheme=SERIES,
                    clock=scope.clock,
                )
            )


def test_a_series_over_its_budget_is_refused_before_any_motion(
    engine: Any, scope: SoftMicroscope, documents: list[Any]
) -> None:
    scope.refusal = DoseRefused("dose: 1 % over")

    with pytest.raises(DoseRefused, match="1 % over"):
        engine(scope.plan())

    assert not documents
    assert not scope.stage.alpha_deg.moves
    assert [m.command for m in scope.messages] == ["preflight", "close_series"]


@pytest.mark.parametrize("defer", [True, False])
def test_a_pause_loses_no_tilt_and_repeats_none(
    engine: Any, scope: SoftMicroscope, documents: list[Any], defer: bool
) -> None:
    axis = scope.stage.alpha_deg
    axis.holds.clear()
    threading.Timer(0.2, lambda: engine.request_pause(defer)).start()
    threading.Timer(0.4, axis.holds.set).start()

    with pytest.raises(RunEngineInterrupted):
        engine(scope.plan())
    engine.resume()

    maps = events_of(documents, "primary")
    assert [e["tilt_target_deg"] for e in maps] == list(SERIES.angles_deg)
    assert len(scope.exposures) == 21
    assert named(documents, "stop")[0]["exit_status"] == "success"


def test_an_abort_closes_run_and_series(
    engine: Any, scope: SoftMicroscope, documents: list[Any]
) -> None:
    axis = scope.stage.alpha_deg
    axis.holds.clear()
    threading.Timer(0.2, engine.request_pause).start()
    with pytest.raises(RunEngineInterrupted):
        engine(scope.plan())
    axis.holds.set()

    engine.abort(reason="wrong wire")

    assert named(documents, "stop")[0]["exit_status"] == "abort"
    assert scope.messages[-1].command == "close_series"
    assert scope.haadf.staged == 0
    assert not scope.exposures


def test_a_stuck_stage_ends_the_series_with_its_own_reason(
    engine: Any, scope: SoftMicroscope, documents: list[Any]
) -> None:
    scope.stage.alpha_deg.failure = MoveFailed("stage.alpha_deg: stuck at 0 deg")

    with pytest.raises(MoveFailed, match="stuck at 0 deg"):
        engine(scope.plan())

    assert named(documents, "stop")[0]["exit_status"] == "fail"
    assert not scope.exposures
    assert scope.messages[-1].command == "close_series"


def test_a_stage_that_stands_elsewhere_is_not_exposed_on(
    engine: RunEngine, scope: SoftMicroscope
) -> None:
    scope.stage.alpha_deg.arrives_late_by = 0.4

    with pytest.raises(MoveFailed) as caught:
        engine(scope.plan())

    assert str(caught.value) == (
        "stage_alpha_deg: 0 deg was asked, the stage rests at -0.4 deg; see what holds "
        "it, then make the series of the tilts that are left"
    )
    assert not scope.exposures


def test_a_lost_specimen_is_not_mapped(
    engine: Any, scope: SoftMicroscope, documents: list[Any]
) -> None:
    scope.is_gone_at = 20.0

    with pytest.raises(SpecimenLost, match="at 20 deg the image resembles"):
        engine(scope.plan())

    assert len(events_of(documents, "primary")) == 2
    assert scope.exposures[-1][1] == "tracking"
    assert scope.messages[-1].command == "close_series"
