"""Where the regions of a specimen lie on it, and what the specimen was cut from."""

import math
import sqlite3
from collections.abc import Sequence

from cryoline.acquisition.dose_book import record
from cryoline.acquisition.dose_queries import find_rows
from cryoline.acquisition.errors import LedgerError

__all__ = ["parents_of", "place_of", "place_region", "register"]


def place_of(
    connection: sqlite3.Connection, specimen: str, region: str
) -> tuple[float, float]:
    """Return a region's centre on the specimen plane, (x, y) nm.

    A region that nobody has placed lies at the specimen's origin, with all others
    that nobody has: what one receives counts for all of them.
    """
    rows = list(
        find_rows(
            connection,
            "specimen = ? AND region = ? AND kind = 'region'",
            specimen,
            region,
        )
    )
    return (rows[-1].body["x_nm"], rows[-1].body["y_nm"]) if rows else (0.0, 0.0)


def place_region(
    connection: sqlite3.Connection,
    specimen: str,
    region: str,
    place_nm: tuple[float, float],
    reason: str,
) -> None:
    """Write down where a region lies; raises LedgerError if it has its dose already."""
    x_nm, y_nm = place_nm
    if not (math.isfinite(x_nm) and math.isfinite(y_nm)):
        raise LedgerError(
            f"dose: specimen {specimen}, {region}: ({x_nm:g}, {y_nm:g}) nm is no "
            "place; give x and y from the specimen's origin"
        )
    was_x_nm, was_y_nm = place_of(connection, specimen, region)
    is_used = connection.execute(
        "SELECT 1 FROM bookings WHERE specimen = ? AND region = ? AND footprint IS NOT "
        "NULL GROUP BY footprint, account HAVING sum(milli_e_per_nm2) != 0 LIMIT 1",
        (specimen, region),
    ).fetchone()
    if is_used and (x_nm, y_nm) != (was_x_nm, was_y_nm):
        raise LedgerError(
            f"dose: specimen {specimen}, {region} was exposed, or is reserved, at "
            f"({was_x_nm:g}, {was_y_nm:g}) nm: what it has received lies there for "
            "good. Give the other place a region of its own"
        )
    body = {"x_nm": x_nm, "y_nm": y_nm, "reason": reason}
    record(connection, "region", body, specimen=specimen, region=region)


def register(
    connection: sqlite3.Connection,
    specimen: str,
    ancestors: Sequence[str],
    cut_from: str | None,
) -> None:
    """Write down what a specimen was made from, oldest first, unless it is known.

    Raises LedgerError for what contradicts what is known: limits hang on it.
    """
    known, known_cut = _registered(connection, specimen)
    if specimen in ancestors:
        raise LedgerError(
            f"dose: specimen {specimen} can't be its own ancestor; mend its ancestors"
        )
    if cut_from is not None and not ancestors:
        raise LedgerError(
            f"dose: specimen {specimen} was cut from {cut_from} of what? Give its "
            "ancestors too"
        )
    if not set(known) <= set(ancestors) or known_cut not in (None, cut_from):
        if not ancestors or (tuple(ancestors) == known and cut_from is None):
            return
        where = f", {known_cut}" if known_cut else ""
        raise LedgerError(
            f"dose: specimen {specimen} is registered as made from "
            f"{' > '.join(known)}{where}, not from {' > '.join(ancestors)}"
            f"{f', {cut_from}' if cut_from else ''}; mend the plan's specimen, or give "
            "the new piece a name of its own"
        )
    if (tuple(ancestors), cut_from) != (known, known_cut):
        body = {"ancestors": list(ancestors), "cut_from": cut_from}
        record(connection, "specimen", body, specimen=specimen)


def parents_of(connection: sqlite3.Connection, specimen: str) -> dict[str, str | None]:
    """Return all ancestors that are known, each with the region that was cut out.

    None where nobody has named it.
    """
    found: dict[str, str | None] = {}
    to_ask = [specimen]
    while to_ask:
        ancestors, cut_from = _registered(connection, to_ask.pop())
        for ancestor in ancestors:
            region = cut_from if ancestor == ancestors[-1] else None
            if ancestor not in found:
                to_ask.append(ancestor)
            found[ancestor] = found.get(ancestor) or region
    found.pop(specimen, None)
    return found


def _registered(
    connection: sqlite3.Connection, specimen: str
) -> tuple[tuple[str, ...], str | None]:
    rows = list(find_rows(connection, "specimen = ? AND kind = 'specimen'", specimen))
    if not rows:
        return (), None
    return tuple(rows[-1].body["ancestors"]), rows[-1].body["cut_from"]
