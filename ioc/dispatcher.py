"""Runs put handlers in an event loop, except for puts that the server makes itself."""

import asyncio
import inspect
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Dispatcher"]

_LOG = logging.getLogger(__name__)


class Dispatcher:
    """What softioc calls for each put; a softioc dispatcher.

    While `muted`, puts of the same thread run no handler: this is how a setting is
    shown that the world changed by itself (e.g. after a reset).
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._muted_thread: int | None = None

    @contextmanager
    def muted(self) -> Iterator[None]:
        """Run no handlers for puts made by this thread."""
        self._muted_thread = threading.get_ident()
        try:
            yield
        finally:
            self._muted_thread = None

    def __call__(
        self,
        func: Callable[..., Any],
        func_args: tuple[Any, ...] = (),
        completion: Callable[..., Any] | None = None,
        completion_args: tuple[Any, ...] = (),
    ) -> None:
        """Run a handler soon, then complete the put."""
        if self._muted_thread == threading.get_ident():
            if completion is not None:
                completion(*completion_args)
            return

        async def handle() -> None:
            try:
                result = func(*func_args)
                if inspect.isawaitable(result):
                    await result
            except Exception:
                # Nobody awaits a put handler: without this its error would vanish.
                _LOG.exception("a put handler failed")
            finally:
                if completion is not None:
                    completion(*completion_args)

        asyncio.run_coroutine_threadsafe(handle(), self._loop)
