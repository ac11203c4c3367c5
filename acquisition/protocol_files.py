"""Protocol files: shipped, read from TOML or JSON, written."""

import json
import tomllib
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cryoline.acquisition.errors import ProtocolError
from cryoline.acquisition.model_errors import nearest
from cryoline.acquisition.protocol import Protocol
from cryoline.acquisition.protocol_unicycler import from_unicycler, is_unicycler

__all__ = ["load_protocol", "read_protocol", "shipped_protocols", "write_protocol"]

_SUFFIXES = (".toml", ".json")


def shipped_protocols() -> tuple[str, ...]:
    """Return the names of the protocols that come with cryoline."""
    folder = files("cryoline.acquisition") / "protocols"
    return tuple(
        sorted(
            entry.name.removesuffix(".toml")
            for entry in folder.iterdir()
            if entry.name.endswith(".toml")
        )
    )


def load_protocol(protocol: str | Path | Protocol) -> Protocol:
    """Return a protocol: a shipped one by its name, a file's, or what is one already.

    Raises ProtocolError that names the file, the key, and the nearest valid key.

    Example
    -------
    >>> load_protocol("s0-25").steps[0].n_cycles
    25
    """
    if isinstance(protocol, Protocol):
        return protocol
    if isinstance(protocol, str) and not protocol.endswith(_SUFFIXES):
        if protocol not in shipped_protocols():
            raise ProtocolError(
                f"no protocol {protocol!r} (a file ends in {' or '.join(_SUFFIXES)})"
                f"{nearest(protocol, shipped_protocols())}"
            )
        entry = files("cryoline.acquisition") / "protocols" / f"{protocol}.toml"
        return _parse(f"{protocol}.toml", entry.read_bytes())
    return read_protocol(Path(protocol))


def read_protocol(path: Path) -> Protocol:
    """Read a TOML or JSON file of ours, or JSON of aurora-unicycler."""
    if path.suffix not in _SUFFIXES:
        raise ProtocolError(
            f"{path}: a protocol is a file that ends in {' or '.join(_SUFFIXES)}"
        )
    try:
        return _parse(str(path), path.read_bytes())
    except OSError as error:
        raise ProtocolError(f"{path}: can't be read: {error.strerror}") from error


def write_protocol(protocol: Protocol, path: Path) -> None:
    """Write a .toml or .json file that `read_protocol` reads."""
    content = protocol.model_dump(mode="json", exclude_none=True)
    if path.suffix == ".json":
        text = json.dumps(content, indent=2) + "\n"
    elif path.suffix == ".toml":
        text = "\n".join(_toml(content)) + "\n"
    else:
        raise ProtocolError(
            f"{path}: a protocol is a file that ends in {' or '.join(_SUFFIXES)}"
        )
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ProtocolError(f"{path}: can't be written: {error.strerror}") from error


def _parse(name: str, content: bytes) -> Protocol:
    try:
        text = content.decode()
        values = tomllib.loads(text) if name.endswith(".toml") else json.loads(text)
    except (tomllib.TOMLDecodeError, ValueError) as error:
        kind = "TOML" if name.endswith(".toml") else "JSON"
        raise ProtocolError(f"{name}: not valid {kind}: {error}") from error
    if not isinstance(values, dict):
        raise ProtocolError(f"{name}: a protocol is a table of keys")
    if is_unicycler(values):
        return from_unicycler(values, name)
    try:
        return Protocol.model_validate(values)
    except ValidationError as error:
        lines = (f"{name}: {_sentence(e)}" for e in error.errors())
        raise ProtocolError("\n".join(lines)) from error


def _sentence(error: Any) -> str:
    """Return one of a ValidationError's errors as a sentence, with its place."""
    # Of a tagged union pydantic names the tag too, which is no key of the file.
    where = [str(part) for part in error["loc"]]
    if len(where) > 2 and where[0] == "steps":
        where[1:3] = [f"{where[1]} ({where[2]})"]
    place = ".".join(where)
    if error["type"] == "extra_forbidden":
        return f"unknown key {place!r}"
    if error["type"] == "missing":
        return f"key {place!r} is missing"
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] in ("value_error", "union_tag_invalid"):
        return f"{place}: {message}"
    return f"{place} = {error['input']!r}: {message}"


def _toml(content: Mapping[str, Any], at: str = "") -> Iterator[str]:
    """Yield the lines of a table: its values first, then the tables in it."""
    tables = {k: v for k, v in content.items() if isinstance(v, dict)}
    lists = {
        k: v
        for k, v in content.items()
        if isinstance(v, list) and v and isinstance(v[0], dict)
    }
    for key, value in content.items():
        if key not in tables and key not in lists:
            # A string, number, flag or list of JSON is one of TOML too.
            yield f"{key} = {json.dumps(value)}"
    for key, table in tables.items():
        yield f"\n[{at}{key}]"
        yield from _toml(table, f"{at}{key}.")
    for key, rows in lists.items():
        for row in rows:
            yield f"\n[[{at}{key}]]"
            yield from _toml(row, f"{at}{key}.")
