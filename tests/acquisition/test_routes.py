"""Route files: what is refused and in which words, and the walk on paper."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from cryoline.acquisition.errors import PlanRefused, RouteError
from cryoline.acquisition.route_limits import Limit, Severity
from cryoline.acquisition.routes import (
    check_route,
    load_route,
    shipped_routes,
    way,
)

SMALL = """
name = "small"
start = "cell"
[states.cell]
place = "cell"
safe = "it keeps."
[states.open]
place = "glovebox"
safe = "go on."
[states.cold]
place = "pot"
safe = "top it up."
[legs.open]
from = "cell"
to = "open"
steps = [{ ask = "Open {specimen}." }, { move = "glovebox" }]
[[legs.open.limits]]
sensor = "glovebox.h2o_ppm"
warn_above = 5
stop_above = 10
[legs.plunge]
from = "open"
to = "cold"
steps = [
    { move = "pot", takes_s = 2 },
    { until = "carrier.temperature_degc", below = -150, within_s = 60, takes_s = 25 },
]
"""


@pytest.fixture
def written(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "small.toml"
        path.write_text(text)
        return path

    return write


def replaced(old: str, new: str) -> str:
    assert old in SMALL
    return SMALL.replace(old, new, 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name = ", "not valid TOML"),
        (
            replaced("stop_above", "stop_abov"),
            "unknown key 'legs.open.limits.0.stop_abov'; did you mean 'stop_above'?",
        ),
        (
            replaced("takes_s = 2", "take_s = 2"),
            "unknown key 'legs.plunge.steps.0.take_s'; did you mean 'takes_s'?",
        ),
        (
            replaced('safe = "it keeps."', ""),
            "key 'states.cell.safe' is missing; he_2021.toml shows it",
        ),
        (
            replaced('start = "cell"', 'start = "cel"'),
            "start = 'cel' is no state; did you mean 'cell'?",
        ),
        (
            replaced('to = "cold"', 'to = "cld"'),
            "legs.plunge.to = 'cld' is no state; did you mean 'cold'?",
        ),
        (
            replaced('from = "open"\nto = "cold"', 'from = "cold"\nto = "open"'),
            "legs.plunge leads to 'open', as legs.open does; "
            "give each leg a state of its own",
        ),
        (
            replaced('{ move = "pot"', '{ move = "pfib"'),
            "legs.plunge leads from glovebox to pot, but its steps move the carrier to "
            "pfib; add { move = 'pot' }",
        ),
        (
            SMALL + '[states.lost]\nplace = "pfib"\nsafe = "-"\n',
            "no leg leads from 'cell' to 'lost'",
        ),
        (
            replaced("glovebox.h2o_ppm", "glovebox.h2o"),
            "legs.open.limits.0.sensor: 'glovebox.h2o' has no unit at its end; it is "
            "one of _degc, _mbar, _ppm, _percent, _s",
        ),
        (
            replaced("warn_above = 5", "warn_above = 50"),
            "legs.open.limits.0: warn_above = 50 of glovebox.h2o_ppm lies beyond "
            "stop_above = 10; exchange them",
        ),
        (
            replaced("warn_above = 5\nstop_above = 10", ""),
            "the limit of glovebox.h2o_ppm limits nothing; give one of warn_above, ",
        ),
        (
            replaced('{ ask = "Open {specimen}." }', '{ ask = "x", wait_s = 3 }'),
            "legs.open.steps.0: a step is one of ask, set, move, wait_s, until; this "
            "one has ask and wait_s",
        ),
        (
            replaced("{specimen}", "{sample}"),
            "legs.open.steps.0: {sample} in an instruction; only {specimen} is filled",
        ),
        (
            replaced('"Open {specimen}."', f'"{"x" * 600}"'),
            "an instruction of up to 600 bytes; the panel shows 511",
        ),
        (
            replaced(", within_s = 60", ""),
            "legs.plunge.steps.1: until = 'carrier.temperature_degc' needs within_s",
        ),
        (
            replaced('{ ask = "Open {specimen}." }', '{ set = "pot.fill" }'),
            "legs.open.steps.0: set = 'pot.fill' needs to",
        ),
        (
            replaced('{ ask = "Open {specimen}." }', '{ ask = "Open.", to = 1 }'),
            "legs.open.steps.0: a step with ask has no to; remove it",
        ),
        (
            replaced("[legs.plunge]", '[legs.plunge]\non_abort = [{ ask = "x" }]'),
            "legs.plunge: on_abort takes steps with set only",
        ),
    ],
)
def test_mistake_in_a_route_names_file_key_and_remedy(written, text, words) -> None:
    path = written(text)
    with pytest.raises(RouteError) as refusal:
        load_route(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert words in str(refusal.value)


def test_unknown_and_absent_routes_are_named(tmp_path) -> None:
    with pytest.raises(RouteError, match=r"no route 'he2021' .* mean 'he_2021'\?"):
        load_route("he2021")
    with pytest.raises(RouteError, match=r"none\.toml: can't be read: No such file"):
        load_route(tmp_path / "none.toml")


def test_small_route_is_walked_on_paper(written) -> None:
    outline = check_route(load_route(written(SMALL)), specimen="nw-01")
    assert [leg.name for leg in outline.legs] == ["open", "plunge"]
    assert outline.legs[0].instructions == ("Open nw-01.",)
    assert outline.expected_s == 30 + 15 + 2 + 25
    assert outline.operator_steps == 1
    assert outline.vessels == ("carrier", "glovebox")


def test_way_goes_from_any_state_and_never_back(written) -> None:
    route = load_route(written(SMALL))
    assert way(route, "cell") == ("open", "plunge")
    assert way(route, "open", "cold") == ("plunge",)
    with pytest.raises(PlanRefused, match="no way from 'cold' to 'cell'"):
        way(route, "cold", "cell")
    with pytest.raises(PlanRefused, match="nothing is left to do"):
        way(route, "cold")
    with pytest.raises(
        PlanRefused, match="no state 'pot'; valid are: cell, cold, open"
    ):
        way(route, "pot")


def test_vessel_or_signal_that_is_not_there_is_named(written) -> None:
    route = load_route(written(SMALL))
    carrier = SimpleNamespace(component_names=("temperature_degc", "air_s"))
    box = SimpleNamespace(component_names=("h20_ppm",))
    with pytest.raises(
        PlanRefused, match=r"no vessel 'glovebox' was given; did you mean 'glove_box'\?"
    ):
        check_route(route, vessels={"carrier": carrier, "glove_box": box})
    with pytest.raises(
        PlanRefused,
        match=r"glovebox has no signal 'h2o_ppm'; did you mean 'h20_ppm'\?",
    ):
        check_route(route, vessels={"carrier": carrier, "glovebox": box})


def test_route_with_two_ends_wants_to_know_which() -> None:
    route = load_route("cryo_apt")
    with pytest.raises(PlanRefused, match="'in-atom-probe' and 'in-microscope'; say"):
        check_route(route)
    legs = [leg.name for leg in check_route(route, to="in-microscope").legs]
    assert legs[-1] == "into-microscope"
    assert "into-atom-probe" not in legs


@pytest.mark.parametrize("name", shipped_routes())
def test_shipped_route_names_signals_that_the_devices_have(name) -> None:
    from cryoline import devices

    vessels = {
        "carrier": devices.Carrier,
        "glovebox": devices.Glovebox,
        "pot": devices.PlungePot,
        "suitcase": devices.Suitcase,
        "pfib": devices.PfibChamber,
        "holder": devices.CryoHolder,
    }
    route = load_route(name)
    for end in {leg.to for leg in route.legs.values()}:
        check_route(route, to=end, vessels=vessels)


def test_shipped_routes_hold_the_numbers_of_the_studies() -> None:
    he = load_route("he_2021")
    rinses = [s for s in he.legs["rinse"].steps if s.ask and "carbonate" in s.ask]
    assert len(rinses) == 3
    assert [s.wait_s for s in he.legs["dry"].steps if s.wait_s] == [900]
    insert = he.legs["insert"].move
    assert insert is not None
    assert insert.expected_s == 10
    apt = load_route("cryo_apt")
    water = next(
        x for x in apt.legs["open-cell"].limits if x.sensor == "glovebox.h2o_ppm"
    )
    assert water.stop_above == 10
    assert {s.to for s in apt.legs["prepare"].steps if s.set} == {-190}
    milled = [leg.to for leg in apt.legs.values() if leg.makes]
    assert milled == ["milled"]


def test_limit_warns_stops_and_refuses_to_begin() -> None:
    limit = Limit(
        sensor="suitcase.pressure_mbar",
        refuse_above=5e-9,
        warn_above=1e-8,
        stop_above=1e-7,
    )
    readings = (1e-9, 6e-9, 2e-8, 2e-7, float("nan"))
    assert [limit.severity(x) for x in readings] == [
        *(Severity.NONE, Severity.NONE, Severity.WARN, Severity.STOP, Severity.STOP),
    ]
    assert [limit.forbids_to_begin(x) for x in readings] == [False, *[True] * 4]
    assert limit.broken_bound(6e-9, beginning=True) == "above 5e-09 mbar"
    assert limit.broken_bound(2e-7) == "above 1e-07 mbar"
    assert limit.mark == "pressure"
    below = Limit(sensor="holder.ln2_percent", warn_below=20, stop_below=5)
    assert below.severity(10) is Severity.WARN
    assert below.broken_bound(1) == "below 5 %"


def test_example_of_the_how_to_is_a_route(written) -> None:
    how_to = Path(__file__).parents[2] / "docs" / "how-to" / "write-a-route.md"
    example = how_to.read_text().split("```toml\n")[1].split("```")[0]
    assert check_route(load_route(written(example))).expected_s == 45
