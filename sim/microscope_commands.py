"""What the microscope's servers may ask of the world."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from cryoline.sim.errors import RefusedError
from cryoline.sim.exposure_log import Outcome
from cryoline.sim.microscope import Microscope
from cryoline.sim.stage_axis import AXES
from cryoline.sim.truth import save_fluence
from cryoline.sim.world import World

__all__ = ["MICROSCOPE_COMMANDS"]

_BLANK_CAUSES: Final = {
    "blank": Outcome.CUT,
    "dead_man": Outcome.DEAD_MAN,
    "interlock": Outcome.INTERLOCK,
}


def _present(world: World) -> tuple[Microscope, float]:
    world.catch_up()
    return world.microscope, world.time_s


def _move(world: World, axis: str, target: float) -> None:
    microscope, time_s = _present(world)
    microscope.stage.move(_known(axis), target, time_s)


def _stop(world: World, axis: str) -> None:
    microscope, time_s = _present(world)
    microscope.stage.stop(_known(axis), time_s)


def _known(axis: str) -> str:
    if axis not in AXES:
        raise RefusedError(f"stage: no axis {axis!r}; known: {', '.join(AXES)}")
    return axis


def _temperature(world: World, degc: float) -> None:
    microscope, time_s = _present(world)
    microscope.stage.cold.set_target(degc, time_s)


def _arm(world: World, text: str) -> None:
    microscope, _ = _present(world)
    microscope.column.arm(text)


def _start(world: World) -> None:
    microscope, time_s = _present(world)
    microscope.start(time_s)


def _blank(world: World, cause: str) -> None:
    microscope, time_s = _present(world)
    if cause not in _BLANK_CAUSES:
        raise RefusedError(f"beam: no cause {cause!r} of blanking")
    microscope.blank(time_s, _BLANK_CAUSES[cause])


def _disarm(world: World) -> None:
    microscope, _ = _present(world)
    microscope.column.disarm()


def _measure(world: World) -> None:
    microscope, time_s = _present(world)
    microscope.column.measure(time_s)


def _guard(world: World) -> dict[str, Any]:
    """Return what protects the specimen: asked for all the time, so it is short."""
    microscope, time_s = _present(world)
    cold = microscope.stage.cold
    return {
        "time_s": time_s,
        "state": int(microscope.column.state),
        "stage_temperature_degc": cold.temperature_degc(time_s),
        "ln2_percent": cold.level_percent(time_s),
        "stage_poll_age_s": min(world.poll_age_s("stage"), 1e9),
    }


def _exposure(world: World, ticket: str) -> dict[str, Any]:
    microscope, _ = _present(world)
    return {
        **microscope.exposure(ticket),
        "specimen": world.specimen(),
        "faults": microscope.faults.of_detectors(),
    }


def _record(world: World, counter: int) -> dict[str, Any] | None:
    microscope, _ = _present(world)
    record = microscope.log.get(counter)
    return record.as_dict() if record else None


def _fault(world: World, name: str, value: float) -> None:
    microscope, time_s = _present(world)
    microscope.set_fault(name, value, time_s)


def _save_truth(world: World) -> str:
    microscope, _ = _present(world)
    if world.directory is None:
        raise RefusedError("laboratory: it was started without a directory for files")
    return str(save_fluence(microscope, world.directory))


MICROSCOPE_COMMANDS: Final[
    Mapping[str, tuple[Callable[..., Any], Mapping[str, type]]]
] = {
    "stage.move": (_move, {"axis": str, "target": float}),
    "stage.stop": (_stop, {"axis": str}),
    "stage.temperature": (_temperature, {"degc": float}),
    "beam.arm": (_arm, {"text": str}),
    "beam.start": (_start, {}),
    "beam.blank": (_blank, {"cause": str}),
    "beam.disarm": (_disarm, {}),
    "beam.measure": (_measure, {}),
    "beam.guard": (_guard, {}),
    "beam.exposure": (_exposure, {"ticket": str}),
    "beam.record": (_record, {"counter": int}),
    "lab.fault": (_fault, {"name": str, "value": float}),
    "truth.save": (_save_truth, {}),
}
