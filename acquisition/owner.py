"""Which process wrote a row that others must respect while it lives."""

import os
import socket
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryoline.acquisition.process_identity import ProcessIdentity

__all__ = ["is_owner_alive", "this_owner"]


@lru_cache(maxsize=1)
def _owner_of(pid: int) -> dict[str, Any]:
    identity = ProcessIdentity.of(pid)
    return {"host": socket.gethostname(), "boot": _kernel_boot(), **identity.as_dict()}


def this_owner() -> dict[str, Any]:
    """Return what names this process, on this machine, since its last start."""
    return _owner_of(os.getpid())


def is_owner_alive(owner: Mapping[str, Any]) -> bool:
    """Return whether the process that wrote a row may still act on it.

    A process of another machine counts as living: nobody here can know.
    """
    if owner["boot"] != _kernel_boot():
        return bool(owner["host"] != socket.gethostname())
    identity = ProcessIdentity.from_state(dict(owner))
    return identity is None or identity.is_alive()


@lru_cache(maxsize=1)
def _kernel_boot() -> str:
    path = Path("/proc/sys/kernel/random/boot_id")
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""
