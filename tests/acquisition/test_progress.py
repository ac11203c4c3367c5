import io
from collections.abc import Callable

from ophyd.status import Status
from rich.console import Console

from cryoline.acquisition.progress import ProgressHook


class Watched(Status):
    """A status that reports progress, as a program's does."""

    def __init__(self) -> None:
        super().__init__()
        self.watchers: list[Callable[..., None]] = []

    def watch(self, func: Callable[..., None]) -> None:
        self.watchers.append(func)


def test_one_bar_lives_through_many_short_waits_and_ends_full() -> None:
    written = io.StringIO()
    hook = ProgressHook(Console(file=written, force_terminal=True, width=100))
    status = Watched()

    for percent in (10, 40, 80):
        hook({status})
        for watcher in status.watchers:
            watcher(name="potentiostat", current=percent, target=100.0)
        hook(None)
    status.set_finished()
    status.wait(1)
    hook({status})
    hook(None)

    assert len(status.watchers) == 1
    assert "potentiostat" in written.getvalue()
    assert "100%" in written.getvalue()


def test_statuses_without_progress_are_left_alone() -> None:
    written = io.StringIO()
    hook = ProgressHook(Console(file=written))
    status = Status()
    status.set_finished()

    hook({status})
    hook(None)

    assert written.getvalue() == ""
