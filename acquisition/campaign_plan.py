"""A specimen's whole story as one plan: cycled, brought to the microscope, mapped.

Each phase is a run of its own, and every run says of which campaign it is, what went
before, and from what its specimen was made. So the volume of a wire leads back to the
cell that it was cycled in.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from bluesky.utils import MsgGenerator, plan

from cryoline.acquisition.cycling import cyclic_voltammetry
from cryoline.acquisition.errors import PlanRefused
from cryoline.acquisition.harvest_plan import keep_state, read_state
from cryoline.acquisition.routes import check_route, load_route
from cryoline.acquisition.specimen import Specimen
from cryoline.acquisition.tilt_exposures import Scan, Tracking
from cryoline.acquisition.tilt_schemes import Scheme
from cryoline.acquisition.tilt_series_plan import check_tilt_series, tilt_series
from cryoline.acquisition.transfer_plan import transfer
from cryoline.devices.clock import InstrumentClock
from cryoline.devices.interfaces import (
    ExposingBeam,
    ExposureRecorder,
    OperatorPanel,
    ProgramRunner,
    TiltStage,
)

__all__ = ["PHASES", "CampaignRuns", "campaign"]

PHASES: Final = ("cycling", "transfer", "tilt-series")

BeforePhase = Callable[[str], MsgGenerator[None]]


class CampaignRuns(NamedTuple):
    """The uid of each phase's run."""

    cycling: str
    transfer: str
    tilt_series: str


@plan
def campaign(
    cell: Specimen,
    wire: Specimen,
    *,
    potentiostat: ProgramRunner,
    operator: OperatorPanel,
    vessels: Mapping[str, Any],
    stage: TiltStage,
    beam: ExposingBeam,
    detectors: Sequence[ExposureRecorder],
    clock: InstrumentClock,
    scheme: Scheme,
    cycling: Mapping[str, Any] | None = None,
    route: str | Path = "he_2021",
    region: str = "region-1",
    scan: Scan | None = None,
    tracking: Tracking | None = None,
    budget_e_per_nm2: float | None = None,
    tilt_limit_deg: float = 60.0,
    before_phase: BeforePhase | None = None,
    md: dict[str, Any] | None = None,
) -> MsgGenerator[CampaignRuns]:
    """Cycle a cell, bring what is made of it to the microscope, map it at many tilts.

    wire: what the route picks from the cell's electrode; ``cell.child(name)``
    cycling: further arguments of `cyclic_voltammetry`
    before_phase: a plan that is run before each of `PHASES`, with its name

    What can be known to be impossible is refused before the cell is touched. Any
    phase may be made alone by its own plan; after an interruption, go on with those.
    Raises PlanRefused, RouteError, and what the phases raise.
    """
    _check_lineage(cell, wire)
    check_route(load_route(route), specimen=cell.name, vessels=vessels)
    check_tilt_series(stage, detectors, scheme, budget_e_per_nm2, tilt_limit_deg)
    story: dict[str, Any] = {"uid": str(uuid.uuid4()), "runs": {}}
    harvest: dict[str, Any] = {}

    def about(phase: str) -> dict[str, Any]:
        campaign_md = {**story, "runs": dict(story["runs"]), "phase": phase}
        return {
            "campaign": campaign_md,
            **({"harvest": harvest} if harvest else {}),
            **(md or {}),
        }

    def begin(phase: str) -> MsgGenerator[None]:
        if before_phase is not None:
            yield from before_phase(phase)

    yield from begin("cycling")
    cycled = yield from cyclic_voltammetry(
        potentiostat,
        cell,
        operator=operator,
        md=about("cycling"),
        **(cycling or {}),
    )
    story["runs"]["cycling"] = cycled
    harvest = {
        "state": "delithiated",  # a cyclic voltammetry ends at its upper vertex
        "cycling_run": cycled,
        **(yield from read_state(potentiostat, clock)),
    }
    yield from keep_state(cell, harvest)

    yield from begin("transfer")
    moved = yield from transfer(
        route,
        cell,
        vessels=vessels,
        operator=operator,
        clock=clock,
        child=wire,
        md=about("transfer"),
    )
    story["runs"]["transfer"] = moved

    yield from begin("tilt-series")
    mapped = yield from tilt_series(
        stage,
        beam,
        detectors,
        wire,
        scheme=scheme,
        clock=clock,
        region=region,
        scan=scan,
        tracking=tracking,
        budget_e_per_nm2=budget_e_per_nm2,
        tilt_limit_deg=tilt_limit_deg,
        md=about("tilt-series"),
    )
    return CampaignRuns(cycled, moved, mapped)


def _check_lineage(cell: Specimen, wire: Specimen) -> None:
    if wire.ancestors != (*cell.ancestors, cell.name):
        raise PlanRefused(
            f"campaign: {wire.name} is made from "
            f"{' < '.join(reversed(wire.ancestors)) or 'nothing'}, "
            f"not from {cell.name}; give {cell.name}'s child: "
            f"cell.child({wire.name!r})"
        )
