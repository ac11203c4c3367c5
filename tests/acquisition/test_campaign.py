"""A campaign is its phases in order, one specimen's lineage, and nothing begun in vain.

What each phase does is shown by its own tests; here each is a recorded call.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import bluesky.plan_stubs as bps
import pytest
from bluesky import RunEngine
from bluesky.utils import MsgGenerator
from ophyd import Signal

from cryoline.acquisition import campaign_plan as module
from cryoline.acquisition import custody_guard
from cryoline.acquisition.campaign_plan import PHASES, campaign
from cryoline.acquisition.custody import CustodyRecord
from cryoline.acquisition.errors import PlanRefused, RouteError
from cryoline.acquisition.specimen import Specimen
from cryoline.acquisition.tilt_schemes import Scheme, bidirectional
from cryoline.devices.carrier import Carrier
from cryoline.devices.vessels import CryoHolder, Glovebox, PlungePot

CELL = Specimen(name="cell-01", ancestors=("boule-7",), electrode_mass_mg=0.2)
WIRE = CELL.child("nw-01")
# Their signals are what a route is checked against; nothing is connected.
VESSELS = {
    "carrier": Carrier,
    "glovebox": Glovebox,
    "pot": PlungePot,
    "holder": CryoHolder,
}


class Positioner(Signal):
    limits = (-70.0, 70.0)


class Stage:
    alpha_deg = Positioner(name="stage_alpha_deg", value=0.0)


class Detector:
    name = "haadf"

    def last_frame(self) -> None: ...


class Cycler:
    potential_v = Signal(name="potential", value=2.98)
    charge_mah = Signal(name="charge", value=-0.02)
    cycle_number = Signal(name="cycle", value=2)


@pytest.fixture
def custody(tmp_path: Path) -> CustodyRecord:
    return CustodyRecord(tmp_path / "custody.sqlite")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any, dict[str, Any]]]:
    calls: list[tuple[str, Any, dict[str, Any]]] = []

    def recorded(phase: str) -> Callable[..., MsgGenerator[str]]:
        def plan(*args: Any, **kwargs: Any) -> MsgGenerator[str]:
            calls.append((phase, args, kwargs))
            yield from bps.null()
            return f"uid of {phase}"

        return plan

    monkeypatch.setattr(module, "cyclic_voltammetry", recorded("cycling"))
    monkeypatch.setattr(module, "transfer", recorded("transfer"))
    monkeypatch.setattr(module, "tilt_series", recorded("tilt-series"))
    return calls


def run(
    scheme: Scheme | None = None,
    wire: Specimen = WIRE,
    custody: CustodyRecord | None = None,
    **options: Any,
) -> Any:
    engine: Any = RunEngine({}, context_managers=[], call_returns_result=True)
    if custody is not None:
        custody_guard.install(engine, custody)
    plan = campaign(
        CELL,
        wire,
        potentiostat=Cycler(),
        operator=Signal(name="operator"),
        vessels=VESSELS,
        stage=Stage(),
        beam=Signal(name="beam"),
        detectors=[Detector()],
        clock=Signal(name="clock", value=4711.0),
        scheme=scheme or bidirectional(60, -60, 5),
        **options,
    )
    return engine(plan).plan_result


def test_each_phase_is_run_once_in_order_by_the_specimen_that_it_is_about(
    calls: list[Any], custody: CustodyRecord
) -> None:
    runs = run(cycling={"n_cycles": 2}, custody=custody)

    assert [phase for phase, _, _ in calls] == list(PHASES)
    cycling, transfer, tilts = (kwargs for _, _, kwargs in calls)
    assert calls[0][1][1] == CELL
    assert cycling["n_cycles"] == 2
    assert calls[1][1] == ("he_2021", CELL)
    assert transfer["child"] == WIRE
    assert calls[2][1][3] == WIRE
    assert WIRE.ancestors == ("boule-7", "cell-01")
    assert tilts["scheme"].name == "bidirectional"
    assert runs == ("uid of cycling", "uid of transfer", "uid of tilt-series")


def test_every_run_says_what_went_before_it(
    calls: list[Any], custody: CustodyRecord
) -> None:
    run(md={"purpose": "test"}, custody=custody)

    cycling, transfer, tilts = (kwargs["md"] for _, _, kwargs in calls)
    assert len({md["campaign"]["uid"] for md in (cycling, transfer, tilts)}) == 1
    assert [md["campaign"]["phase"] for md in (cycling, transfer, tilts)] == list(
        PHASES
    )
    assert cycling["campaign"]["runs"] == {}
    assert transfer["campaign"]["runs"] == {"cycling": "uid of cycling"}
    assert tilts["campaign"]["runs"]["transfer"] == "uid of transfer"
    assert "harvest" not in cycling
    assert tilts["harvest"] == {
        "cycling_run": "uid of cycling",
        "state": "delithiated",
        "cycle_number": 2,
        "potential_v": 2.98,
        "charge_mah": -0.02,
        "instrument_time_s": 4711.0,
    }
    assert all(md["purpose"] == "test" for md in (cycling, transfer, tilts))
    custody.register(WIRE.name, parent=CELL.name)
    assert custody.state(WIRE.name).harvest == tilts["harvest"]


def test_a_person_may_do_something_before_each_phase(
    calls: list[Any], custody: CustodyRecord
) -> None:
    heard: list[str] = []

    def before(phase: str) -> MsgGenerator[None]:
        assert len(calls) == len(heard)  # the phase has not begun
        heard.append(phase)
        yield from bps.null()

    run(before_phase=before, custody=custody)

    assert heard == list(PHASES)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"wire": Specimen(name="nw-01", ancestors=("cell-02",))},
            PlanRefused,
            "campaign: nw-01 is made from cell-02, not from cell-01; give cell-01's "
            "child: cell.child('nw-01')",
        ),
        (
            {"scheme": bidirectional(65, -60, 5)},
            PlanRefused,
            "stage_alpha_deg: 65 deg is outside -60..60 deg; choose a smaller tilt, or "
            "raise tilt_limit_deg if the holder allows it",
        ),
        ({"budget_e_per_nm2": 0.0}, PlanRefused, "tilt_series: budget_e_per_nm2 = 0"),
        ({"route": "he_2020"}, RouteError, "no route 'he_2020'"),
    ],
)
def test_what_can_be_known_to_be_impossible_is_refused_before_a_cell_is_cycled(
    calls: list[Any], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        run(**options)

    assert str(caught.value).startswith(message)
    assert calls == []
