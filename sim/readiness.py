"""How a process of the laboratory tells its starter that it is up, or why not."""

import os

import orjson

__all__ = ["announce", "announce_failure"]


def announce(ready_fd: int) -> None:
    """Report that this process serves now."""
    _report(ready_fd, {"ready": True})


def announce_failure(ready_fd: int, why: str) -> None:
    """Report why this process can't serve; it should end then."""
    _report(ready_fd, {"failure": why})


def _report(ready_fd: int, report: dict[str, object]) -> None:
    with os.fdopen(ready_fd, "wb") as pipe:
        pipe.write(orjson.dumps(report))
