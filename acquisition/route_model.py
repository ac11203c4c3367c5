"""A specimen's way as data: states, and the legs between them.

They form a tree: there is one way from the start to each state.
"""

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from cryoline.acquisition.model_errors import nearest
from cryoline.acquisition.route_limits import Limit, RouteModel
from cryoline.acquisition.route_steps import Step

__all__ = ["Leg", "Route", "RouteState"]

_Text = Annotated[str, Field(min_length=1)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class RouteState(RouteModel):
    """A state in which the specimen may be left."""

    place: _Text
    """What the carrier says of where it is."""
    safe: _Text
    """How it stays safe here, for whoever finds it."""


class Leg(RouteModel):
    """The way from one state to the next."""

    from_: Annotated[_Text, Field(alias="from")]
    to: _Text
    title: str = ""
    steps: Annotated[tuple[Step, ...], Field(min_length=1)]
    limits: tuple[Limit, ...] = ()
    """Checked before it begins, and all the way."""
    on_abort: tuple[Step, ...] = ()
    """Settings that make it safe if it is ended early."""
    duration_warn_s: _Positive | None = None
    duration_max_s: _Positive | None = None
    makes: str = ""
    """What is made of the specimen on this leg, as in grid; it may get its own name."""

    @model_validator(mode="after")
    def _steps_fit(self) -> Self:
        if sum(step.move is not None for step in self.steps) > 1:
            raise ValueError("a leg moves the carrier once; make two legs of it")
        for step in self.on_abort:
            if step.set is None:
                raise ValueError("on_abort takes steps with set only")
        return self

    @property
    def move(self) -> Step | None:
        """The step that moves the carrier, if one does."""
        return next((step for step in self.steps if step.move is not None), None)

    @property
    def expected_s(self) -> float:
        """Instrument time that it takes as a rule."""
        return sum(step.expected_s for step in self.steps)

    @property
    def sensors(self) -> tuple[str, ...]:
        """Every sensor that it looks at, once."""
        named = [limit.sensor for limit in self.limits]
        named += [step.until for step in self.steps if step.until is not None]
        return tuple(dict.fromkeys(named))

    @property
    def settings(self) -> tuple[str, ...]:
        """Every signal that it sets, once."""
        steps = (*self.steps, *self.on_abort)
        return tuple(dict.fromkeys(s.set for s in steps if s.set is not None))


class Route(RouteModel):
    """A whole way; see docs/reference/routes.md."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    description: str = ""
    source: str = ""
    """Where it is described."""
    start: _Text
    log_every_s: _Positive = 10.0
    """Instrument time between two rows of the log."""
    logs: tuple[str, ...] = ()
    """Vessels whose readings are logged, besides those that limits name."""
    ready: tuple[Limit, ...] = ()
    """Checked once, before the first leg: what must be so at the far end."""
    states: dict[str, RouteState]
    legs: dict[str, Leg]

    @model_validator(mode="after")
    def _is_a_tree(self) -> Self:
        _check_graph(self)
        return self

    def dumped(self) -> dict[str, Any]:
        """Return it as it stands in a file, for the record of a run."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def _check_graph(route: Route) -> None:
    """Raise ValueError unless there is one way from the start to each state."""
    known = route.states
    if route.start not in known:
        raise ValueError(
            f"start = {route.start!r} is no state{nearest(route.start, known)}"
        )
    entered: dict[str, str] = {}
    for name, leg in route.legs.items():
        for key, state in (("from", leg.from_), ("to", leg.to)):
            if state not in known:
                raise ValueError(
                    f"legs.{name}.{key} = {state!r} is no state{nearest(state, known)}"
                )
        if leg.to in entered or leg.to == route.start:
            other = entered.get(leg.to)
            raise ValueError(
                f"legs.{name} leads to {leg.to!r}, "
                + (f"as legs.{other} does" if other else "where the route starts")
                + "; give each leg a state of its own"
            )
        entered[leg.to] = name
        _check_move(name, leg, known)
    reached = {route.start}
    while more := {g.to for g in route.legs.values() if g.from_ in reached} - reached:
        reached |= more
    lost = sorted(set(known) - reached)
    if lost:
        raise ValueError(
            f"no leg leads from {route.start!r} to {', '.join(map(repr, lost))}"
        )


def _check_move(name: str, leg: Leg, states: dict[str, RouteState]) -> None:
    here, there = states[leg.from_].place, states[leg.to].place
    moved_to = leg.move.move if leg.move is not None else None
    wanted = there if there != here else None
    if moved_to != wanted:
        raise ValueError(
            f"legs.{name} leads from {here} to {there}, but its steps move the "
            f"carrier {'to ' + moved_to if moved_to else 'nowhere'}; "
            + (f"add {{ move = {wanted!r} }}" if wanted else "remove the move")
        )
