"""The instrument's IPython: everything that a session needs, by name."""

import sys
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from cryoline.acquisition.config import Config
from cryoline.acquisition.errors import CryolineError
from cryoline.acquisition.mistakes import MISTAKES, say
from cryoline.acquisition.session import Session, open_session
from cryoline.acquisition.tiled_client import LazyCatalog

__all__ = ["namespace", "run_code", "run_shell"]


_NAMES: Final = (
    "DisplacedArea",
    "HarvestAt",
    "Protocol",
    "Scan",
    "Scheme",
    "Specimen",
    "Tracking",
    "alternate",
    "bidirectional",
    "campaign",
    "confirm",
    "continuous",
    "cosine",
    "cycle",
    "cyclic_voltammetry",
    "dose_of_series",
    "dose_symmetric_grouped",
    "expose_once",
    "harvest",
    "harvest_record",
    "load_protocol",
    "plan_dose",
    "program_points",
    "resume_program",
    "run_program",
    "swing",
    "tilt_series",
    "transfer",
    "worst_case_tilt_series",
)
"""What the shell has of `cryoline.acquisition`, ready to use."""


def namespace(session: Session) -> dict[str, Any]:
    """Return the names of the shell: RE, devices, plans, specimen, Tiled."""
    import bluesky.plan_stubs as bps
    import bluesky.plans as bp

    from cryoline import acquisition
    from cryoline.acquisition.run_figures import RunFigures
    from cryoline.devices import Exposure

    plans = {name: getattr(acquisition, name) for name in _NAMES}
    return {
        "RE": session.RE,
        "session": session,
        "devices": session.devices,
        "Exposure": Exposure,
        "bp": bp,
        "bps": bps,
        "figures": RunFigures(session.config.layout),
        "tiled": LazyCatalog(session.config),
        **plans,
        **session.devices,
    }


def run_shell(config: Config) -> None:
    """Open an interactive IPython on the instrument; works without a display."""
    console = Console()
    session = open_session(config, write=console.out, progress=True)
    from bluesky.magics import BlueskyMagics
    from IPython.terminal.embed import InteractiveShellEmbed
    from traitlets.config import Config as IPythonConfig

    settings = IPythonConfig()
    # A history of its own: two shells on one machine don't fight for one file.
    settings.HistoryManager.hist_file = str(config.layout.logs / "ipython-history.db")
    shell = InteractiveShellEmbed(
        config=settings, banner1=_banner(session), user_ns=namespace(session)
    )
    shell.register_magics(BlueskyMagics)
    shell.set_custom_exc(MISTAKES, _say_only)
    shell()


def _say_only(
    shell: Any, kind: Any, error: BaseException, trace: Any, **_: Any
) -> None:
    """Show a person's mistake as its message; anything else keeps its traceback."""
    say(error)


def run_code(config: Config, code: str, source: str = "<command>") -> None:
    """Run a piece of Python in the shell's namespace, without a prompt.

    An interrupt aborts the run, so that the plan's own clean-up is done.
    """
    console = Console()
    session = open_session(config, write=console.out, progress=True)
    for key in session.closed_runs:
        console.print(f"closed as interrupted: {key}", style="yellow")
    from bluesky.utils import RunEngineInterrupted

    try:
        exec(compile(code, source, "exec"), namespace(session))
    except RunEngineInterrupted:
        session.RE.abort(reason="interrupted from the keyboard")
        raise KeyboardInterrupt from None


def read_script(path: Path) -> str:
    """Return a script's text; raises CryolineError if it can't be read."""
    try:
        return sys.stdin.read() if str(path) == "-" else path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CryolineError(f"{path}: can't be read as a script: {error}") from error


def _banner(session: Session) -> str:
    devices = ", ".join(session.devices)
    closed = "".join(f"  closed as interrupted: {key}\n" for key in session.closed_runs)
    return (
        f"cryoline at {session.config.instrument.name}\n"
        f"  devices: {devices}\n"
        f"  data:    {session.config.layout.root}\n"
        "  try:     RE(cyclic_voltammetry(potentiostat, Specimen(name='wafer-01'),"
        " n_cycles=2))\n"
        "  results: tiled['raw'], tiled['derived']\n"
        f"{closed}"
    )
