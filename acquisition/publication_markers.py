"""Which runs are verified in Tiled: one marker file a run, kept by the publisher."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from cryoline.acquisition.layout import DataLayout
from cryoline.acquisition.process_identity import read_state, write_state
from cryoline.acquisition.tiled_access import CONTAINERS

__all__ = ["Held", "PublicationMarkers", "RunName"]

_Signature: TypeAlias = tuple[int | None, int | None]


@dataclass(frozen=True)
class Held:
    """What Tiled was seen to hold of a run."""

    rows: dict[str, int]
    """By stream."""
    frames: dict[str, int]
    """In detector files, by ``stream/data key``."""
    arrays: int
    """Result files of the analysis."""
    rebuilt: list[str]
    """Streams whose table was written again because it was not exact."""
    block: dict[str, Any]
    """What it can be found by."""


@dataclass(frozen=True, order=True)
class RunName:
    """A run by the container that it belongs to and its key there."""

    container: str
    key: str

    def __str__(self) -> str:
        return f"{self.container}/{self.key}"


class PublicationMarkers:
    """``published/<container>/<key>.json`` when verified, ``.failed`` when it can't be.

    Whoever removes a marker asks the publisher to look at that run again.
    """

    def __init__(self, layout: DataLayout) -> None:
        self._journals = {"raw": layout.raw_journal, "derived": layout.derived_journal}
        self._folders = {name: layout.published / name for name in CONTAINERS}
        self._signatures: dict[RunName, _Signature | None] = {}
        for folder in self._folders.values():
            folder.mkdir(exist_ok=True)

    @property
    def directories(self) -> list[Path]:
        """Every directory in which something may change."""
        return [*self._journals.values(), *self._folders.values()]

    def journals(self) -> Iterator[tuple[RunName, Path]]:
        """Yield every journal there is, raw runs first, in the order of their keys."""
        for container, directory in self._journals.items():
            for path in sorted(directory.glob("*.jsonl")):
                yield RunName(container, path.stem), path

    def settled(self) -> set[RunName]:
        """Return the runs that need no work: published, or failed until asked again.

        A journal that was written to after it was published (a new version of the
        analysis supersedes a derived run) is not settled.
        """
        marked = {
            (RunName(container, path.stem), path.suffix)
            for container, folder in self._folders.items()
            for path in folder.iterdir()
        }
        published = {run for run, suffix in marked if suffix == ".json"}
        for run in self._signatures.keys() - published:
            del self._signatures[run]
        failed = {run for run, suffix in marked if suffix == ".failed"}
        return failed | {run for run in published if self._is_unchanged(run)}

    def was_published(self, run: RunName) -> bool:
        """Return whether some version of this run's journal has been published."""
        return self.published(run) is not None

    def mark_published(self, run: RunName, held: Held) -> None:
        """Note that Tiled holds these rows, frames and arrays, each once."""
        signature = _signature(self._journals[run.container] / f"{run.key}.jsonl")
        content = {**asdict(held), "verified": _now()}
        if signature:
            content["bytes"], content["mtime_ns"] = signature
        self._signatures[run] = signature
        write_state(self._folders[run.container] / f"{run.key}.json", content)

    def blocks(self, container: str) -> Iterator[tuple[RunName, dict[str, Any]]]:
        """Yield what every published run can be found by."""
        for path in sorted(self._folders[container].glob("*.json")):
            run = RunName(container, path.stem)
            if (content := self.published(run)) and "block" in content:
                yield run, content["block"]

    def renew_block(self, run: RunName, block: dict[str, Any]) -> None:
        """Note that a run can now be found by something else."""
        if content := self.published(run):
            path = self._folders[run.container] / f"{run.key}.json"
            write_state(path, content | {"block": block})

    def mark_failed(self, run: RunName, reason: str) -> None:
        """Note why this run can't be published."""
        content = {"reason": reason, "failed": _now()}
        write_state(self._folders[run.container] / f"{run.key}.failed", content)

    def published(self, run: RunName) -> dict[str, Any] | None:
        """Return what is noted of a published run, None if it is not published."""
        return read_state(self._folders[run.container] / f"{run.key}.json")

    def failure(self, run: RunName) -> str | None:
        """Return why a run can't be published, None if it has not failed."""
        content = read_state(self._folders[run.container] / f"{run.key}.failed")
        return None if content is None else str(content["reason"])

    def failures(self) -> dict[str, str]:
        """Return the reasons of all failed runs."""
        failed = [
            RunName(container, path.stem)
            for container, folder in self._folders.items()
            for path in sorted(folder.glob("*.failed"))
        ]
        return {str(run): self.failure(run) or "" for run in failed}

    def forget(self, run: RunName) -> None:
        """Have this run published and verified again."""
        for suffix in (".json", ".failed"):
            path = self._folders[run.container] / f"{run.key}{suffix}"
            path.unlink(missing_ok=True)

    def forget_failures(self) -> None:
        """Have all failed runs tried again."""
        for folder in self._folders.values():
            for path in folder.glob("*.failed"):
                path.unlink(missing_ok=True)

    def _is_unchanged(self, run: RunName) -> bool:
        if run not in self._signatures:
            marker = self.published(run) or {}
            self._signatures[run] = (marker.get("bytes"), marker.get("mtime_ns"))
        journal = self._journals[run.container] / f"{run.key}.jsonl"
        return _signature(journal) in (None, self._signatures[run])


def _signature(journal: Path) -> _Signature | None:
    """Return what changes when a journal is written to, None if there is none."""
    try:
        status = journal.stat()
    except FileNotFoundError:
        return None
    return status.st_size, status.st_mtime_ns


def _now() -> str:
    return datetime.now(tz=UTC).isoformat(timespec="seconds")
