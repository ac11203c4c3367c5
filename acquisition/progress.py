"""A progress bar while the RunEngine waits for something that reports progress."""

from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)

__all__ = ["ProgressHook"]


class ProgressHook:
    """What ``RE.waiting_hook`` is set to.

    A bar belongs to a status, not to a wait: a plan that waits for the same status
    in short pieces, as collecting does, keeps one bar.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._progress: Progress | None = None
        self._tasks: dict[int, TaskID] = {}
        self._statuses: dict[int, Any] = {}

    def __call__(self, statuses: set[Any] | None) -> None:
        """Take the statuses that are waited for; None after the wait."""
        for status in statuses or ():
            if hasattr(status, "watch") and id(status) not in self._tasks:
                self._add(status)
        if statuses is None and all(s.done for s in self._statuses.values()):
            self._close()

    def _add(self, status: Any) -> None:
        if self._progress is None:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=40),
                TaskProgressColumn(),
                TimeElapsedColumn(),
                console=self._console,
                transient=False,
            )
            self._progress.start()
        task = self._progress.add_task(getattr(status, "name", "") or "running")
        self._tasks[id(status)] = task
        self._statuses[id(status)] = status

        def update(
            *, name: str = "", current: float = 0, target: float = 1, **_: Any
        ) -> None:
            if self._progress is not None:
                self._progress.update(
                    task, description=name, completed=current, total=target
                )

        status.watch(update)

    def _close(self) -> None:
        if self._progress is not None:
            for status in self._statuses.values():
                if status.success:
                    task = self._tasks[id(status)]
                    total = self._progress.tasks[task].total
                    self._progress.update(task, completed=total)
            self._progress.stop()
        self._progress = None
        self._tasks.clear()
        self._statuses.clear()
