"""The points of one program as one table, though several runs collected them."""

from typing import Any

from cryoline.acquisition.errors import CryolineError

__all__ = ["program_points"]


def program_points(raw: Any, uid: str) -> Any:
    """Return a pandas DataFrame of all points of a program, each once, in their order.

    raw: Tiled's catalog of raw runs, ``tiled["raw"]`` in the shell
    uid: of the program, ``run.metadata["start"]["program"]["uid"]``

    A run and those that continue it have one program; each point's index is in one of
    them. Raises CryolineError if a point is missing or occurs twice.
    """
    import pandas as pd
    from tiled.queries import Key

    runs = raw.search(Key("start.program.uid") == uid)
    tables = [run["points"].base["internal"].read() for run in runs.values()]
    if not tables:
        raise CryolineError(f"no run of program {uid} in this catalog")
    table = pd.concat(tables, ignore_index=True)
    # Beside each column stands that of its time stamps, whose name begins with ts_.
    (column,) = (
        name
        for name in table.columns
        if name.endswith("_point_index") and not name.startswith("ts_")
    )
    table = table.sort_values(column, ignore_index=True)
    wrong = table.index[table[column] != table.index]
    if len(wrong):
        raise CryolineError(
            f"program {uid}: point {wrong[0]} is missing or occurs twice in its "
            f"{len(tables)} runs; have all of them been published? (cryoline status)"
        )
    return table
