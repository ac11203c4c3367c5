"""Find plugins by entry-point name, and load only the one that is asked for.

A plugin belongs to a group (``cryoline.devices``, ``cryoline.readers``, ...) and
is offered by any installed distribution through its entry points.
"""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from cryoline.plugins.errors import PluginError

__all__ = ["GROUPS", "Plugin", "available", "load"]

GROUPS: Final = (
    "cryoline.devices",
    "cryoline.readers",
    "cryoline.spectra",
    "cryoline.exporters",
    "cryoline.commands",
    "cryoline.bridges",
)
"""The groups that cryoline looks plugins up in."""


@dataclass(frozen=True)
class Plugin:
    """One offered plugin; nothing of it has been imported yet."""

    group: str
    name: str
    target: str
    distribution: str
    version: str

    @property
    def module(self) -> str:
        """The module of the target, without attribute and extras."""
        return self.target.partition(" ")[0].partition(":")[0]


def available(group: str) -> tuple[Plugin, ...]:
    """Return every plugin that the group offers, by name, importing none.

    Example
    -------
    >>> [p.name for p in available("cryoline.exporters")]
    ['bdf', 'bdf-parquet', 'figures']
    """
    return tuple(
        sorted(
            (
                Plugin(group, e.name, e.value, _distribution(e), e.dist.version or "?")
                for e in _distinct(group)
                if e.dist is not None
            ),
            key=lambda plugin: (plugin.name, plugin.distribution),
        )
    )


def load(group: str, name: str) -> Any:
    """Import the one plugin of that name and return its target.

    Raises PluginError if no or more than one distribution offers the name, or if
    its import fails; the text names plugin, module, cause and what to do.
    """
    offers = [e for e in _distinct(group) if e.name == name]
    if not offers:
        raise PluginError(_unknown(group, name))
    if len(offers) > 1:
        who = " and ".join(sorted(_distribution(e) for e in offers))
        raise PluginError(
            f"{group}: {name!r} is offered by {who}; "
            "uninstall one, or rename its entry point"
        )
    entry = offers[0]
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        extras = ", ".join(entry.extras)
        remedy = (
            f"pip install '{_distribution(entry)}[{extras}]'"
            if extras
            else f"reinstall {_distribution(entry)}"
        )
        raise PluginError(
            f"{group}: plugin {name!r} ({entry.value}) fails to import: "
            f"{type(error).__name__}: {error}; {remedy}"
        ) from error


def _distinct(group: str) -> Iterator[EntryPoint]:
    """Yield each offer once: an editable install can be listed twice on sys.path."""
    seen = set()
    for entry in entry_points(group=group):
        offer = (_distribution(entry), entry.name, entry.value)
        if offer not in seen:
            seen.add(offer)
            yield entry


def _distribution(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "an unnamed distribution"


def _unknown(group: str, name: str) -> str:
    names = sorted({e.name for e in entry_points(group=group)})
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    offered = ", ".join(names) or "none"
    return f"{group}: no plugin {name!r}{hint} (offered: {offered})"
