"""Every example in a docstring runs, under the installed module's own name."""

import doctest
import importlib
import pkgutil

import pytest

import cryoline

MODULES = [
    m.name
    for m in pkgutil.walk_packages(cryoline.__path__, "cryoline.")
    if not m.name.endswith("__main__")
]


def test_the_list_of_modules_is_not_empty() -> None:
    assert len(MODULES) > 30


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
