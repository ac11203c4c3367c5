"""Alarms on their way to a person: a file each, on disk before anything is sent.

``alarms/CHANNEL/waiting/UID.json`` waits, ``.../sent/UID.json`` is gone out. The uid
follows from the raw run, so that a worker that was killed and computes again finds
its alarm here and does not tell twice. One that dies between sending and noting it
does: rather twice than never.
"""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from cryoline.acquisition.alarm_config import AlarmsSection
from cryoline.acquisition.journal import sync_directory

__all__ = ["STREAM", "AlarmOutbox", "RunAlarms"]

STREAM: Final = "alarms"
"""The stream of a derived run that holds its alarms."""

_SEVERITIES: Final = ("minor", "major")


class AlarmOutbox:
    """The alarms of all runs, by channel.

    folder: of the outbox, made when the first alarm comes
    on_new: called when one was put there
    """

    def __init__(
        self,
        folder: Path,
        section: AlarmsSection,
        on_new: Callable[[], None] = lambda: None,
    ) -> None:
        self._folder = folder
        self._section = section
        self._on_new = on_new

    @property
    def channels(self) -> tuple[str, ...]:
        """The ways by which alarms are sent."""
        return self._section.channels

    def put(self, alarm: Mapping[str, Any]) -> None:
        """Take an alarm, unless it is known, too old, or not severe enough."""
        if time.time() - alarm["time"] > 3600 * self._section.age_max_h:
            return
        least = _SEVERITIES.index(self._section.severity)
        if _SEVERITIES.index(alarm["severity"]) < least:
            return
        for channel in self.channels:
            waiting, sent = (self._of(channel, s) for s in ("waiting", "sent"))
            name = f"{alarm['uid']}.json"
            if not (waiting / name).exists() and not (sent / name).exists():
                _write(waiting / name, alarm)
        self._on_new()

    def waiting(self, channel: str) -> list[dict[str, Any]]:
        """Return what a channel has to send, oldest first."""
        paths = self._of(channel, "waiting").glob("*.json")
        alarms = [json.loads(path.read_bytes()) for path in paths]
        return sorted(alarms, key=lambda alarm: (alarm["time"], alarm["uid"]))

    def sent(self, channel: str, alarms: Sequence[Mapping[str, Any]]) -> None:
        """Note that these have gone out."""
        waiting, sent = (self._of(channel, s) for s in ("waiting", "sent"))
        for alarm in alarms:
            name = f"{alarm['uid']}.json"
            (waiting / name).replace(sent / name)
        sync_directory(sent)

    def _of(self, channel: str, state: str) -> Path:
        folder = self._folder / channel / state
        folder.mkdir(parents=True, exist_ok=True)
        return folder


class RunAlarms:
    """Picks the alarms out of one derived run's documents, and puts them in the outbox.

    A file that was imported is nobody's emergency: its alarms are in the derived run
    and are not sent. Nor are those of points that a run before this one has collected:
    that one's have been.
    """

    def __init__(self, outbox: AlarmOutbox, key: str) -> None:
        self._outbox = outbox
        self._key = key
        self._start: Mapping[str, Any] = {}
        self._descriptor: str | None = None

    def take(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take the derived run's next document."""
        if name == "start":
            self._start = doc
        elif name == "descriptor" and doc["name"] == STREAM:
            self._descriptor = doc["uid"]
        elif name == "event" and doc["descriptor"] == self._descriptor:
            is_told = "continues" in self._start and doc["time"] < self._start["time"]
            if is_told or "imported_file" in self._start:
                return
            self._outbox.put(
                {
                    "uid": doc["uid"],
                    "time": doc["time"],
                    "run": self._key,
                    "specimen": self._start.get("specimen"),
                    **doc["data"],
                }
            )


def _write(path: Path, alarm: Mapping[str, Any]) -> None:
    unfinished = path.with_suffix(".part")
    with unfinished.open("wb") as out:
        out.write(json.dumps(alarm).encode())
        out.flush()
        os.fsync(out.fileno())
    unfinished.replace(path)
    sync_directory(path.parent)
