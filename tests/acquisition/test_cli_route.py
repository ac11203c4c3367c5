"""A route walked on paper, at the command line."""

import json

import pytest
from typer.testing import CliRunner

from cryoline.acquisition.cli_check import app
from cryoline.acquisition.errors import PlanRefused, RouteError


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
