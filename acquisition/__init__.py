"""Plans, guards, journal, publisher, session: what composes an acquisition.

Names are imported when they are first used, so that ``cryoline status`` need not
wait for bluesky.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryoline.acquisition.campaign_plan import campaign
    from cryoline.acquisition.config import Config, find_config, load_config
    from cryoline.acquisition.custody import CustodyRecord
    from cryoline.acquisition.cycling import cycle, cyclic_voltammetry
    from cryoline.acquisition.dose import DoseLedger
    from cryoline.acquisition.dose_plan import dose_of_series, plan_dose
    from cryoline.acquisition.expose import expose_once
    from cryoline.acquisition.harvest_plan import harvest, harvest_record
    from cryoline.acquisition.low_dose_areas import DisplacedArea
    from cryoline.acquisition.operator_step import confirm
    from cryoline.acquisition.program_run import run_program
    from cryoline.acquisition.program_union import program_points
    from cryoline.acquisition.protocol import HarvestAt, Protocol
    from cryoline.acquisition.protocol_files import load_protocol, shipped_protocols
    from cryoline.acquisition.resume import resume_program
    from cryoline.acquisition.routes import check_route, load_route, shipped_routes
    from cryoline.acquisition.session import Session, open_session
    from cryoline.acquisition.specimen import Specimen
    from cryoline.acquisition.tilt_exposures import (
        Scan,
        Tracking,
        worst_case_tilt_series,
    )
    from cryoline.acquisition.tilt_schemes import (
        Scheme,
        alternate,
        bidirectional,
        continuous,
        cosine,
        dose_symmetric_grouped,
        swing,
    )
    from cryoline.acquisition.tilt_series_plan import tilt_series
    from cryoline.acquisition.transfer_plan import transfer

__all__ = [
    "Config",
    "CustodyRecord",
    "DisplacedArea",
    "DoseLedger",
    "HarvestAt",
    "Protocol",
    "Scan",
    "Scheme",
    "Session",
    "Specimen",
    "Tracking",
    "alternate",
    "bidirectional",
    "campaign",
    "check_route",
    "confirm",
    "continuous",
    "cosine",
    "cycle",
    "cyclic_voltammetry",
    "dose_of_series",
    "dose_symmetric_grouped",
    "expose_once",
    "find_config",
    "harvest",
    "harvest_record",
    "load_config",
    "load_protocol",
    "load_route",
    "open_session",
    "plan_dose",
    "program_points",
    "resume_program",
    "run_program",
    "shipped_protocols",
    "shipped_routes",
    "swing",
    "tilt_series",
    "transfer",
    "worst_case_tilt_series",
]

_WHERE = {
    "Config": "config",
    "CustodyRecord": "custody",
    "DisplacedArea": "low_dose_areas",
    "DoseLedger": "dose",
    "HarvestAt": "protocol",
    "Protocol": "protocol",
    "Scan": "tilt_exposures",
    "Scheme": "tilt_schemes",
    "Session": "session",
    "Specimen": "specimen",
    "Tracking": "tilt_exposures",
    "alternate": "tilt_schemes",
    "bidirectional": "tilt_schemes",
    "campaign": "campaign_plan",
    "check_route": "routes",
    "confirm": "operator_step",
    "continuous": "tilt_schemes",
    "cosine": "tilt_schemes",
    "cycle": "cycling",
    "cyclic_voltammetry": "cycling",
    "dose_of_series": "dose_plan",
    "dose_symmetric_grouped": "tilt_schemes",
    "expose_once": "expose",
    "find_config": "config",
    "harvest": "harvest_plan",
    "harvest_record": "harvest_plan",
    "load_config": "config",
    "load_protocol": "protocol_files",
    "load_route": "routes",
    "open_session": "session",
    "plan_dose": "dose_plan",
    "program_points": "program_union",
    "resume_program": "resume",
    "run_program": "program_run",
    "shipped_protocols": "protocol_files",
    "shipped_routes": "routes",
    "swing": "tilt_schemes",
    "tilt_series": "tilt_series_plan",
    "transfer": "transfer_plan",
    "worst_case_tilt_series": "tilt_exposures",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
