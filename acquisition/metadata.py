"""What every start document says of the session that wrote it."""

import getpass
import platform
import socket
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from cryoline.acquisition.config import Config

__all__ = ["session_metadata", "versions"]

_DISTRIBUTIONS: Final = (
    "cryoline",
    "bluesky",
    "ophyd",
    "pyepics",
    "event-model",
    "tiled",
    "bluesky-tiled-plugins",
    "numpy",
    "numba",
    "scipy",
)


def versions() -> dict[str, str]:
    """Return the versions of Python and of everything that shapes the data."""
    found = {"python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def session_metadata(config: Config) -> dict[str, Any]:
    """Return the metadata common to every run of a session."""
    return {
        "instrument": config.instrument.name,
        "versions": versions(),
        "session": {
            "user": getpass.getuser(),
            "host": socket.gethostname(),
            "config": str(config.path),
            "config_sha256": config.fingerprint,
        },
    }
