"""Rules that hold for every module, signal and public name, old or new."""

import ast
import importlib
import inspect
import pkgutil
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import cryoline

ROOT = Path(__file__).parents[1]
FOLDERS = ("acquisition", "analysis", "devices", "ioc", "plugins", "sim")
SOURCES = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
UNITS = re.compile(
    r"_(v|a|s|c|pa|kev|ev|mv_per_s|deg|px|nm|um|degc|mbar|ppm|mah|percent"
    r"|e_per_nm2|mah_per_g)$"
)
# Numbers without a unit: counters, states, indices.
UNITLESS = {
    "cycle_number", "half_cycle", "step_index", "overload", "compliance", "contact",
    "state", "start", "halt", "point_count", "point_request", "points", "answer",
    "moving", "reset_max", "fill", "refill", "port_vent",
    "exposure_counter", "frame_count", "outcome", "blanked", "interlock", "blank",
    "measure", "log_request", "acquire_counter", "slot_index", "slot", "capture",
    "capturing", "acquire", "cancel", "counts", "first_event", "last_event",
    "first_frame", "channel_count", "mean_counts", "whole_frame_count",
}  # fmt: skip


def contracts() -> list[dict[str, Any]]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found: list[dict[str, Any]] = settings["tool"]["importlinter"]["contracts"]
    return found


def test_every_module_of_acquisition_and_analysis_is_in_a_contract() -> None:
    named = {
        module
        for contract in contracts()
        if contract["type"] == "forbidden"
        for module in contract["source_modules"]
    }
    modules = {
        f"cryoline.{path.relative_to(ROOT).with_suffix('').as_posix()}".replace(
            "/", "."
        )
        for path in SOURCES
        if path.parent.name in ("acquisition", "analysis") and path.stem != "__init__"
    }

    assert modules - named == set()


def devices() -> list[type]:
    from ophyd import Device

    import cryoline.devices as package

    found = [getattr(package, name) for name in package.__all__]
    return [x for x in found if inspect.isclass(x) and issubclass(x, Device)]


@pytest.mark.parametrize("device", devices(), ids=lambda d: d.__name__)
def test_every_signal_says_what_it_is_and_in_which_unit(device: Any) -> None:
    for name in device.component_names:
        component = getattr(device, name)
        assert component.doc, f"{device.__name__}.{name} has no doc"
        assert component.doc.endswith("."), f"{device.__name__}.{name}: {component.doc}"
        is_number = not component.kwargs.get("string") and name not in UNITLESS
        if is_number and not name.endswith(("_uid", "_id")):
            assert UNITS.search(name), f"{device.__name__}.{name} has no unit"


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_public_name_resolves_and_has_a_docstring(folder: str) -> None:
    package = importlib.import_module(f"cryoline.{folder}")
    for name in getattr(package, "__all__", ()):
        assert inspect.getdoc(getattr(package, name)), f"{folder}.{name}"


@pytest.mark.parametrize(
    "module",
    [
        m.name
        for m in pkgutil.walk_packages(cryoline.__path__, "cryoline.")
        if not m.ispkg and not m.name.endswith("__main__")
    ],
)
def test_every_module_lists_its_public_names(module: str) -> None:
    imported = importlib.import_module(module)

    assert imported.__doc__, f"{module} has no docstring"
    assert hasattr(imported, "__all__"), f"{module} has no __all__"
    for name in imported.__all__:
        assert hasattr(imported, name), f"{module}.__all__ names {name}"


def test_no_module_is_longer_than_400_lines() -> None:
    lengths = {p.name: len(p.read_text().splitlines()) for p in SOURCES}

    assert {name: n for name, n in lengths.items() if n > 400} == {}


def test_no_broad_except_is_silent() -> None:
    """``except Exception`` must log or hand the error on, never pass."""
    silent = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler) and (
                node.type is None
                or (isinstance(node.type, ast.Name) and "Exception" in node.type.id)
            ):
                body = ast.unparse(ast.Module(node.body, []))
                if not re.search(r"raise|log|exception", body):
                    silent.append(f"{path.name}:{node.lineno}")

    assert silent == []


def test_the_version_stands_once_and_the_changelog_knows_it() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    version = settings["project"]["version"]

    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()
