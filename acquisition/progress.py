"""A progress bar while the RunEngine waits for something that reports progress."""

from functools import partial
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
    in short pieces, as collecting does, keeps one bar. A status that never reports
    progress gets none.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._progress: Progress | None = None
        self._watched: dict[int, Any] = {}
        self._tasks: dict[int, TaskID] = {}

    def __call__(self, statuses: set[Any] | None) -> None:
        """Take the statuses that are waited for; None after the wait."""
        for status in statuses or ():
            if hasattr(status, "watch") and id(status) not in self._watched:
                self._watched[id(status)] = status
                status.watch(partial(self._update, status))
        if statuses is None and all(s.done for s in self._watched.values()):
            self._close()

    def _update(
        self,
        status: Any,
        *,
        name: str = "",
        current: float | None = None,
        target: float | None = None,
        **_: Any,
    ) -> None:
        if current is None or target is None or status.done:
            return
        if self._progress is None:
            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=40),
                TaskProgressColumn(),
                TimeElapsedColumn(),
                console=self._console,
            )
            self._progress.start()
        if id(status) not in self._tasks:
            self._tasks[id(status)] = self._progress.add_task(name)
        self._progress.update(self._tasks[id(status)], completed=current, total=target)

    def _close(self) -> None:
        if self._progress is not None:
            for number, task in self._tasks.items():
                if self._watched[number].success:
                    total = self._progress.tasks[task].total
                    self._progress.update(task, completed=total)
            self._progress.stop()
        self._progress = None
        self._watched.clear()
        self._tasks.clear()
