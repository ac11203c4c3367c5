"""Plans, guards, journal, publisher, session: what composes an acquisition.

Names are imported when they are first used, so that ``cryoline status`` need not
wait for bluesky.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryoline.acquisition.config import Config, find_config, load_config
    from cryoline.acquisition.cycling import cyclic_voltammetry, run_program
    from cryoline.acquisition.expose import expose_once
    from cryoline.acquisition.operator_step import confirm
    from cryoline.acquisition.session import Session, open_session
    from cryoline.acquisition.specimen import Specimen

__all__ = [
    "Config",
    "Session",
    "Specimen",
    "confirm",
    "cyclic_voltammetry",
    "expose_once",
    "find_config",
    "load_config",
    "open_session",
    "run_program",
]

_WHERE = {
    "Config": "config",
    "Session": "session",
    "Specimen": "specimen",
    "confirm": "operator_step",
    "cyclic_voltammetry": "cycling",
    "expose_once": "expose",
    "find_config": "config",
    "load_config": "config",
    "open_session": "session",
    "run_program": "cycling",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
