"""Cycling without a prompt: one run from the command line, until Tiled holds it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from typing import Any

from bluesky.utils import MsgGenerator, RunEngineInterrupted

from cryoline.acquisition.config import Config
from cryoline.acquisition.errors import ConfigError, PublishError
from cryoline.acquisition.publication_markers import PublicationMarkers, RunName
from cryoline.acquisition.run_key import run_key
from cryoline.acquisition.services import Services
from cryoline.acquisition.session import Session, open_session

__all__ = ["FinishedRun", "run_alone", "wait_until_published"]

MakePlan = Callable[[Session, Any], MsgGenerator[Any]]


@dataclass(frozen=True)
class FinishedRun:
    """A run from the command line."""

    key: str
    exit_status: str
    rows: int
    """Points that were collected."""
    seconds: float
    """Wall time from the opening of the session to the end of the run."""


def run_alone(
    config: Config,
    device: str,
    make_plan: MakePlan,
    *,
    write: Callable[[str], None] | None = None,
) -> FinishedRun:
    """Open a session, run one plan on a device of it, and close the run.

    Raises ConfigError if there is no such device, and what the plan raises. An
    interrupt aborts the run, which stops the instrument.
    """
    if device not in config.devices:
        raise ConfigError(
            f"{config.path}: no device {device!r}; there are: "
            f"{', '.join(config.devices)}"
        )
    begun_s = time.monotonic()
    session = open_session(config, write=write, progress=True)
    documents = _Documents()
    session.RE.subscribe(documents)
    with _interruptible(session):
        session.RE(make_plan(session, session.devices[device]))
    return FinishedRun(
        key=documents.key,
        exit_status=documents.exit_status,
        rows=documents.rows,
        seconds=time.monotonic() - begun_s,
    )


def wait_until_published(config: Config, key: str, *, timeout_s: float) -> int:
    """Wait until Tiled was seen to hold a run; return the points that it holds.

    Raises PublishError if it can't be published, or is not in time.
    """
    markers = PublicationMarkers(config.layout)
    run = RunName("raw", key)
    deadline_s = time.monotonic() + timeout_s
    pause = Event()
    while (held := markers.published(run)) is None:
        if (reason := markers.failure(run)) is not None:
            raise PublishError(f"{key}: can't be published: {reason}")
        if time.monotonic() > deadline_s:
            services = Services(config).status()
            ill = ", ".join(s.name for s in services if not s.is_well)
            raise PublishError(
                f"{key}: not in Tiled after {timeout_s:g} s"
                + (f"; not well: {ill} (cryoline up)" if ill else "; see the logs")
            )
        pause.wait(0.1)
    return int(held["rows"].get("points", 0))


class _Documents:
    """A subscriber that remembers what a person is told at the end."""

    def __init__(self) -> None:
        self.key = ""
        self.exit_status = ""
        self.rows = 0

    def __call__(self, name: str, doc: dict[str, Any]) -> None:
        if name == "start":
            self.key = run_key(doc)
        elif name == "event_page":
            self.rows += len(doc["seq_num"])
        elif name == "stop":
            self.exit_status = doc["exit_status"]


@contextmanager
def _interruptible(session: Session) -> Iterator[None]:
    try:
        yield
    except RunEngineInterrupted:
        session.RE.abort(reason="interrupted from the keyboard")
        raise KeyboardInterrupt from None
