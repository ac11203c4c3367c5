"""A route walked on paper, at the command line."""

import json
from typing import Any

import epics
import pytest
from typer.testing import CliRunner

from cryoline.acquisition.cli_check import app
from cryoline.acquisition.errors import PlanRefused, RouteError
from cryoline.acquisition.route_margins import margins
from cryoline.acquisition.routes import load_route, way


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["transfer", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return " ".join(result.output.split())


def test_walk_on_paper_tells_legs_steps_time_and_needs() -> None:
    told = run("he_2021", "--specimen", "nw-01")
    assert "dry Dry in vacuum for 15 minutes (glovebox, 16 min)" in told
    assert "- Rinse nw-01 in fresh dimethyl carbonate (3 of 3)." in told
    assert "insert About 10 s through air into the column (holder to microsc" in told
    assert "about 0.4 h by the instrument's clock, 11 steps by a person" in told
    assert told.endswith("needs: carrier, glovebox, pot, holder")


def test_walk_is_there_for_programs_too() -> None:
    told = json.loads(run("cryo_apt", "--to", "in-fib", "--json"))
    assert [leg["name"] for leg in told["legs"]][-1] == "into-fib"
    assert told["expected_s"] == sum(leg["expected_s"] for leg in told["legs"])


def test_wrong_route_or_end_is_an_error_for_a_person() -> None:
    with pytest.raises(RouteError, match="no route 'he'"):
        run("he")
    with pytest.raises(PlanRefused, match="say which"):
        run("cryo_apt")


def test_margins_say_how_far_each_reading_is_from_what_would_stop_the_way() -> None:
    route = load_route("cryo_apt")
    legs = way(route, route.start, "in-fib")
    limits = [*route.ready, *(x for leg in legs for x in route.legs[leg].limits)]
    pressure = next(x for x in limits if x.sensor == "suitcase.pressure_mbar")
    bound = pressure.stop_above
    assert bound is not None

    (found, *_) = margins(route, legs, {"suitcase.pressure_mbar": bound / 20})
    (broken, *_) = margins(route, legs, {"suitcase.pressure_mbar": bound * 2})

    assert found.sensor == "suitcase.pressure_mbar"
    assert (found.text, found.broken) == ("a factor of 20", "")
    assert broken.broken == f"above {broken.bound:g} mbar"
    warm = margins(route, legs, {"suitcase.temperature_degc": -180.0})[0]
    assert warm.text == f"{abs(warm.bound + 180):.3g} degC"
    assert margins(route, legs, {}) == []


@pytest.mark.lab
def test_margins_of_now_are_read_from_the_vessels(instrument: Any, lab: Any) -> None:
    told = instrument.cryoline("check", "transfer", "he_2021", "--now", "--json")

    margins_now = json.loads(told.stdout)["margins"]
    by_sensor = {(m["where"], m["sensor"]): m for m in margins_now}
    ready = by_sensor["ready", "holder.temperature_degc"]
    assert ready["bound"] == -160
    assert ready["value"] == pytest.approx(epics.caget("SIM:HOLD1:Temp_RBV"), abs=1)
    not_ready = [m for m in margins_now if m["broken"] and m["where"] == "ready"]
    assert told.returncode == int(bool(not_ready))
