"""A person's mistake is said as one message; a defect of ours keeps its traceback."""

from typing import Final

from rich.console import Console
from rich.markup import escape

from cryoline.acquisition.errors import CryolineError
from cryoline.devices.errors import DeviceError
from cryoline.plugins.errors import ExporterError, PluginError, ReaderError

__all__ = ["MISTAKES", "say"]

MISTAKES: Final = (
    CryolineError,
    DeviceError,
    ExporterError,
    PluginError,
    ReaderError,
)
"""The roots of what is raised with a text for a person."""


def say(error: BaseException) -> None:
    """Write an error's text to standard error, without a traceback."""
    console = Console(stderr=True)
    # Not wrapped: a path that is broken in two can't be copied.
    text = f"[bold red]error:[/] {escape(str(error))}"
    console.print(text, highlight=False, soft_wrap=True)
