"""Route files: read, checked, and walked on paper before anybody opens a cell."""

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cryoline.acquisition.errors import PlanRefused, RouteError
from cryoline.acquisition.model_errors import explain, nearest
from cryoline.acquisition.route_model import Route

__all__ = [
    "LegOutline",
    "RouteOutline",
    "check_route",
    "fingerprint",
    "load_route",
    "shipped_routes",
    "way",
]


def shipped_routes() -> tuple[str, ...]:
    """Return the names of the routes that come with cryoline."""
    folder = files("cryoline.acquisition") / "routes"
    return tuple(
        sorted(
            entry.name.removesuffix(".toml")
            for entry in folder.iterdir()
            if entry.name.endswith(".toml")
        )
    )


def load_route(route: str | Path) -> Route:
    """Read and check a route: the name of a shipped one, or the path of a .toml file.

    Raises RouteError that names the file, the key, and the nearest valid key.

    Example
    -------
    >>> load_route("he_2021").start
    'cell'
    """
    if isinstance(route, str) and not route.endswith(".toml"):
        if route not in shipped_routes():
            raise RouteError(
                f"no route {route!r} (a path must end in .toml)"
                f"{nearest(route, shipped_routes())}"
            )
        entry = files("cryoline.acquisition") / "routes" / f"{route}.toml"
        return _read(f"{route}.toml", entry.read_bytes())
    path = Path(route)
    try:
        return _read(str(path), path.read_bytes())
    except OSError as error:
        raise RouteError(f"{path}: can't be read: {error.strerror}") from error


def _read(name: str, content: bytes) -> Route:
    try:
        values = tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RouteError(f"{name}: not valid TOML: {error}") from error
    try:
        return Route(**values)
    except ValidationError as error:
        found = error.errors()
        lines = (f"{name}: {explain(e, Route, 'he_2021.toml')}" for e in found)
        raise RouteError("\n".join(lines)) from error


def fingerprint(route: Route) -> str:
    """Return a SHA-256 over what a route says."""
    return hashlib.sha256(route.model_dump_json(by_alias=True).encode()).hexdigest()


def way(route: Route, start: str, to: str | None = None) -> tuple[str, ...]:
    """Return the names of the legs from one state to another, in order.

    ``to`` may be left out if the route has a single end beyond the start. Raises
    PlanRefused if there is no such way.
    """
    for state in (start, *([to] if to else [])):
        if state not in route.states:
            raise PlanRefused(
                f"route {route.name}: no state {state!r}{nearest(state, route.states)}"
            )
    enters = {leg.to: name for name, leg in route.legs.items()}
    if to is None:
        ends = [end for end in _ends(route) if _legs_to(route, enters, start, end)]
        if len(ends) != 1:
            raise PlanRefused(
                f"route {route.name}: from {start!r} it leads to "
                f"{' and '.join(map(repr, ends)) or 'nowhere'}; "
                + ("say which: to=..." if ends else "nothing is left to do")
            )
        (to,) = ends
    legs = _legs_to(route, enters, start, to)
    if not legs:
        raise PlanRefused(
            f"route {route.name}: "
            + (
                f"the specimen is in {start!r} already; nothing is left to do"
                if start == to
                else f"no way from {start!r} to {to!r}; from there it leads to "
                f"{', '.join(_beyond(route, start)) or 'nowhere'}"
            )
        )
    return legs


def _legs_to(
    route: Route, enters: Mapping[str, str], start: str, end: str
) -> tuple[str, ...]:
    """Return the legs from start to end, none if there is no way."""
    legs: list[str] = []
    while end != start:
        if end not in enters:
            return ()
        legs.append(enters[end])
        end = route.legs[enters[end]].from_
    return tuple(reversed(legs))


def _ends(route: Route) -> list[str]:
    left = {leg.from_ for leg in route.legs.values()}
    return [state for state in route.states if state not in left]


def _beyond(route: Route, start: str) -> list[str]:
    enters = {leg.to: name for name, leg in route.legs.items()}
    return [s for s in route.states if _legs_to(route, enters, start, s)]


@dataclass(frozen=True)
class LegOutline:
    """One leg as it is foreseen."""

    name: str
    title: str
    from_state: str
    to_state: str
    from_place: str
    to_place: str
    expected_s: float
    """Instrument time, as a rule."""
    instructions: tuple[str, ...]


@dataclass(frozen=True)
class RouteOutline:
    """What a transfer will do and need."""

    route: str
    legs: tuple[LegOutline, ...]
    vessels: tuple[str, ...]
    """Names that must be given as vessels."""
    signals: tuple[str, ...]
    """VESSEL.SIGNAL of all that is read or set."""

    @property
    def expected_s(self) -> float:
        """Instrument time, as a rule."""
        return sum(leg.expected_s for leg in self.legs)

    @property
    def operator_steps(self) -> int:
        """How often a person is asked."""
        return sum(len(leg.instructions) for leg in self.legs)


def check_route(
    route: Route,
    *,
    specimen: str = "the specimen",
    start: str | None = None,
    to: str | None = None,
    vessels: Mapping[str, Any] | None = None,
) -> RouteOutline:
    """Walk a route on paper: the twin of `transfer`, which touches nothing.

    vessels: what the session has, by name; each sensor and setting must be a signal of
    one. Raises PlanRefused if the way or a signal does not exist.
    """
    names = way(route, start or route.start, to)
    legs = [route.legs[name] for name in names]
    signals = dict.fromkeys(limit.sensor for limit in route.ready)
    for leg in legs:
        signals |= dict.fromkeys((*leg.sensors, *leg.settings))
    wanted = dict.fromkeys(("carrier", *route.logs))
    wanted |= dict.fromkeys(signal.partition(".")[0] for signal in signals)
    if vessels is not None:
        _check_vessels(route, tuple(wanted), tuple(signals), vessels)
    outlines = tuple(
        LegOutline(
            name=name,
            title=leg.title,
            from_state=leg.from_,
            to_state=leg.to,
            from_place=route.states[leg.from_].place,
            to_place=route.states[leg.to].place,
            expected_s=leg.expected_s,
            instructions=tuple(
                step.ask.replace("{specimen}", specimen)
                for step in leg.steps
                if step.ask is not None
            ),
        )
        for name, leg in zip(names, legs, strict=True)
    )
    return RouteOutline(route.name, outlines, tuple(wanted), tuple(signals))


def _check_vessels(
    route: Route,
    wanted: tuple[str, ...],
    signals: tuple[str, ...],
    vessels: Mapping[str, Any],
) -> None:
    for name in wanted:
        if name not in vessels:
            raise PlanRefused(
                f"route {route.name}: no vessel {name!r} was given"
                f"{nearest(name, vessels)}"
            )
    for signal in signals:
        vessel, _, attribute = signal.partition(".")
        known = tuple(getattr(vessels[vessel], "component_names", ()))
        if attribute not in known:
            raise PlanRefused(
                f"route {route.name}: {vessel} has no signal {attribute!r}"
                f"{nearest(attribute, known)}"
            )
