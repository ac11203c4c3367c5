"""Plans, guards, journal, publisher, session: what composes an acquisition.

Names are imported when they are first used, so that ``cryoline status`` need not
wait for bluesky.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryoline.acquisition.config import Config, find_config, load_config
    from cryoline.acquisition.custody import CustodyRecord
    from cryoline.acquisition.cycling import cyclic_voltammetry, run_program
    from cryoline.acquisition.expose import expose_once
    from cryoline.acquisition.operator_step import confirm
    from cryoline.acquisition.routes import check_route, load_route, shipped_routes
    from cryoline.acquisition.session import Session, open_session
    from cryoline.acquisition.specimen import Specimen
    from cryoline.acquisition.transfer_plan import transfer

__all__ = [
    "Config",
    "CustodyRecord",
    "Session",
    "Specimen",
    "check_route",
    "confirm",
    "cyclic_voltammetry",
    "expose_once",
    "find_config",
    "load_config",
    "load_route",
    "open_session",
    "run_program",
    "shipped_routes",
    "transfer",
]

_WHERE = {
    "Config": "config",
    "CustodyRecord": "custody",
    "Session": "session",
    "Specimen": "specimen",
    "check_route": "routes",
    "confirm": "operator_step",
    "cyclic_voltammetry": "cycling",
    "expose_once": "expose",
    "find_config": "config",
    "load_config": "config",
    "load_route": "routes",
    "open_session": "session",
    "run_program": "cycling",
    "shipped_routes": "routes",
    "transfer": "transfer_plan",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
