"""What a client of the world may ask: an explicit list, each with its arguments."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from cryoline.sim.clock import ClockMode
from cryoline.sim.errors import RefusedError
from cryoline.sim.microscope_commands import MICROSCOPE_COMMANDS
from cryoline.sim.mounted_cells import CellKind
from cryoline.sim.operator import Answer
from cryoline.sim.panels import panel_values
from cryoline.sim.transfer_panels import TRANSFER_COMMANDS
from cryoline.sim.world import World

__all__ = ["COMMANDS", "perform"]


def _poll(world: World, instrument: str) -> dict[str, Any]:
    world.catch_up()
    return {
        "generation": world.tell(instrument),
        "time_s": world.time_s,
        "values": panel_values(world, instrument),
    }


def _load(world: World, text: str, channel: int) -> None:
    world.catch_up()
    world.cells.channel(channel).load(text)


def _points(world: World, first: int, channel: int) -> dict[str, Any]:
    world.catch_up()
    page = world.cells.channel(channel).read_page(first)
    return {"first": first, "rows": page.tolist()}


def _lose_contact(world: World, channel: int) -> None:
    world.catch_up()
    world.cells.lose_contact(channel, world.time_s)


def _factor(world: World, factor: float) -> None:
    world.catch_up()
    world.clock.set_factor(factor)


def _mode(world: World, mode: int) -> None:
    world.catch_up()
    world.clock.set_mode(ClockMode(mode))


def _door(world: World, is_open: bool) -> None:
    world.catch_up()
    world.glovebox.set_door(is_open)


def _ask(world: World, text: str) -> None:
    world.at_present(lambda time_s: world.operator.ask(text, time_s))


def _answer(world: World, answer: int) -> None:
    world.catch_up()
    world.operator.give(Answer(answer))


def _auto_confirm(world: World, on: bool) -> None:
    world.catch_up()
    world.operator.auto_confirm = on


def _confirm_after(world: World, delay_s: float) -> None:
    world.catch_up()
    world.operator.set_confirm_after(delay_s)


Command = tuple[Callable[..., Any], Mapping[str, type]]

COMMANDS: Final[Mapping[str, Command]] = {
    "poll": (_poll, {"instrument": str}),
    "unaware": (lambda w: w.unaware(), {}),
    "potentiostat.load": (_load, {"text": str, "channel": int}),
    "potentiostat.start": (
        lambda w, channel: w.at_present(w.cells.channel(channel).start),
        {"channel": int},
    ),
    "potentiostat.stop": (
        lambda w, channel: w.at_present(w.cells.channel(channel).stop),
        {"channel": int},
    ),
    "potentiostat.points": (_points, {"first": int, "channel": int}),
    "potentiostat.lose_contact": (_lose_contact, {"channel": int}),
    "glovebox.door": (_door, {"is_open": bool}),
    "operator.ask": (_ask, {"text": str}),
    "operator.answer": (_answer, {"answer": int}),
    "operator.auto_confirm": (_auto_confirm, {"on": bool}),
    "operator.confirm_after": (_confirm_after, {"delay_s": float}),
    "clock.wake_at": (lambda w, time_s: w.set_wake_at(time_s), {"time_s": float}),
    "lab.factor": (_factor, {"factor": float}),
    "lab.mode": (_mode, {"mode": int}),
    "lab.advance": (lambda w, duration_s: w.advance(duration_s), {"duration_s": float}),
    "lab.step": (lambda w: w.step(), {}),
    "lab.reset": (lambda w, seed: w.reset(seed), {"seed": int}),
    "lab.mount": (lambda w, cell: w.mount(CellKind(cell)), {"cell": int}),
    **MICROSCOPE_COMMANDS,
    **TRANSFER_COMMANDS,
}


def perform(world: World, name: object, arguments: object) -> Any:
    """Do one command of the list, or raise RefusedError."""
    if not isinstance(name, str) or name not in COMMANDS:
        raise RefusedError(f"world: no command {name!r}")
    function, wanted = COMMANDS[name]
    if isinstance(arguments, dict) and "channel" in wanted:
        arguments = {"channel": 0, **arguments}  # the only one of most laboratories
    if not isinstance(arguments, dict) or set(arguments) != set(wanted):
        raise RefusedError(f"world: {name} takes {', '.join(wanted) or 'no arguments'}")
    checked = {}
    for key, kind in wanted.items():
        value = arguments[key]
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not kind:
            raise RefusedError(
                f"world: {name}: {key} must be {kind.__name__}, not {value!r}"
            )
        checked[key] = value
    return function(world, **checked)
