"""What is wrong in a file that a person wrote: which key, and the nearest valid one."""

import difflib
from collections.abc import Iterable
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

__all__ = ["explain", "nearest"]


def explain(error: Any, model: type[BaseModel], example: str) -> str:
    """Return one of a ValidationError's errors as a sentence.

    model: what the file was checked against
    example: the file that shows a missing key
    """
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        valid = _valid_keys(error["loc"][:-1], model)
        return f"unknown key {key!r}{nearest(str(error['loc'][-1]), valid)}"
    if error["type"] == "missing":
        return f"key {key!r} is missing; {example} shows it"
    if error["type"] == "value_error":
        text = str(error["ctx"]["error"])
        return f"{key}: {text}" if key else text
    return f"{key} = {error['input']!r}: {error['msg']}"


def nearest(word: str, valid: Iterable[str]) -> str:
    """Return the end of a message: the word most like this one, else all of them."""
    words = sorted(valid)
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; valid are: {', '.join(words)}" if words else ""


def _valid_keys(location: tuple[str | int, ...], model: type[BaseModel]) -> list[str]:
    """Return the keys that the section at this location may hold."""
    inner: Any = model
    for part in location:
        inner = _plain(inner)
        if get_origin(inner) is dict:
            inner = get_args(inner)[1]
        elif isinstance(part, int):
            inner = get_args(inner)[0]
        else:
            inner = _field(inner, part).annotation
    inner = _plain(inner)
    if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
        return []
    return [f.alias or n for n, f in inner.model_fields.items() if n != "path"]


def _field(model: Any, key: str) -> Any:
    by_alias = {f.alias: f for f in model.model_fields.values() if f.alias}
    return by_alias.get(key) or model.model_fields[key]


def _plain(annotation: Any) -> Any:
    """Return what an optional annotation is if it is not None."""
    if get_origin(annotation) in (Union, UnionType):
        return next(a for a in get_args(annotation) if a is not type(None))
    return annotation
