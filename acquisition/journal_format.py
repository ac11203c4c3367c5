"""A journal's lines: one document each, as JSON that keeps every number.

A line is ``{"name": name, "doc": doc}`` and a newline. JSON has no word for NaN
and the infinities, and orjson writes them as null, so a reading that was NaN
could not be told from one that was missing. Here such a float is written as
``{"__float__": "nan"}`` (or ``"inf"``, ``"-inf"``) wherever it stands, and comes
back as the float. None stays null and comes back as None.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import orjson

__all__ = ["decode_line", "encode_line"]

_MARK: Final = "__float__"
_MARK_BYTES: Final = b'"__float__"'
_WORDS: Final = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
_OPTIONS: Final = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE


def encode_line(name: str, doc: Mapping[str, Any]) -> bytes:
    r"""Return one document as a line of a journal.

    Raises TypeError if the document holds what JSON can't say (a set, a complex
    number, an integer beyond 64 bits, a key that is no string).

    >>> encode_line("stop", {"a": float("nan"), "b": None})
    b'{"name":"stop","doc":{"a":{"__float__":"nan"},"b":null}}\n'
    """
    line = orjson.dumps({"name": name, "doc": doc}, _plain, _OPTIONS)
    # Only a document with a null in it can have lost a number: the walk over
    # every value, 10 times the cost of the dump, is spared to all others.
    if b"null" in line:
        line = orjson.dumps({"name": name, "doc": _mark(doc)}, _plain, _OPTIONS)
    return line


def decode_line(line: bytes) -> tuple[str, dict[str, Any]]:
    """Return the name and the document of a line.

    Raises ValueError if it is not JSON or not a journal's line.
    """
    content = orjson.loads(line)
    if not (isinstance(content, dict) and content.keys() == {"name", "doc"}):
        raise ValueError('expected {"name": ..., "doc": ...}')
    name, doc = content["name"], content["doc"]
    if not (isinstance(name, str) and isinstance(doc, dict)):
        raise ValueError('expected {"name": str, "doc": object}')
    if _MARK_BYTES in line:
        doc = _unmark(doc)
    return name, doc


def _plain(value: object) -> object:
    """Return what orjson can write for arrays it has no fast way for."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} can't be written as JSON")


def _mark(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else {_MARK: repr(float(value))}
    if isinstance(value, Mapping):
        return {key: _mark(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_mark(item) for item in value]
    return value


def _unmark(value: Any) -> Any:
    if isinstance(value, dict):
        if len(value) == 1 and isinstance(word := value.get(_MARK), str):
            return _WORDS.get(word, value)
        return {key: _unmark(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unmark(item) for item in value]
    return value
