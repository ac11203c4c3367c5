"""Event pages as rows of appendable Tiled tables, in the layout of TiledWriter."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from tiled.client.base import BaseClient
from tiled.client.container import Container
from tiled.client.utils import handle_error
from tiled.structures.core import StructureFamily
from tiled.structures.data_source import DataSource
from tiled.structures.table import TableStructure

from cryoline.acquisition.errors import PublishError

__all__ = [
    "PAGE_ROWS",
    "TABLE_KEY",
    "AppendableTable",
    "RowBuffer",
    "create_table",
    "event_as_page",
    "table_schema",
]

PAGE_ROWS: Final = 5000
"""Rows a request: 26,000 rows/s were measured with this, 91 ms a page."""

TABLE_KEY: Final = "internal"

_ARROW_MIMETYPE: Final = "application/vnd.apache.arrow.file"
_TYPES: Final = {
    "number": pa.float64(),
    "integer": pa.int64(),
    "string": pa.string(),
    "boolean": pa.bool_(),
}


class AppendableTable(BaseClient):
    """A client of a Tiled table for one writer: append a page, read a column.

    Tiled's own table client would load dask, which takes 10 s; and it retries.
    """

    def append(self, page: pa.Table) -> None:
        """Append rows. After an error they may or may not have been appended."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, page.schema) as writer:
            writer.write_table(page)
        handle_error(
            self.context.http_client.patch(
                self._partition,
                params={"partition": 0},
                content=sink.getvalue().to_pybytes(),
                headers={"Content-Type": _ARROW_MIMETYPE},
            )
        )

    def seq_nums(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return the seq_num of every row that the server holds."""
        column = self.read_table("seq_num").column("seq_num")
        return np.asarray(column.to_numpy(), dtype=np.int64)

    def read_table(self, *columns: str) -> pa.Table:
        """Return some columns, or all of them, of every row."""
        answer = handle_error(
            self.context.http_client.get(
                self._partition,
                params={"partition": 0, "column": list(columns)},
                headers={"Accept": _ARROW_MIMETYPE},
            )
        )
        table = pa.ipc.open_file(answer.read()).read_all()
        # Tiled adds the row numbers of a data frame that it made in between.
        return table.select([n for n in table.column_names if not n.startswith("_")])

    @property
    def _partition(self) -> str:
        return str(self.item["links"]["partition"]).partition("?")[0]


def table_schema(data_keys: Mapping[str, Mapping[str, Any]], stream: str) -> pa.Schema:
    """Return the columns of a stream's table from its descriptor's data keys.

    seq_num, time, one a key, and ts_ one a key; keys of external files have none.
    Raises PublishError if a key holds arrays: SQLite has no column for them.
    """
    columns = {
        name: key["dtype"] for name, key in data_keys.items() if "external" not in key
    }
    for name, dtype in columns.items():
        if name in ("seq_num", "time"):
            raise PublishError(
                f"stream {stream}: a data key is called {name!r}, as a column of "
                "every table is; rename the signal"
            )
        if dtype not in _TYPES:
            raise PublishError(
                f"stream {stream}: {name} is of dtype {dtype!r}, which has no column "
                f"in a table (possible: {', '.join(_TYPES)}); write it to a file and "
                "name it by a stream resource"
            )
    return pa.schema(
        [
            pa.field("seq_num", pa.int64()),
            pa.field("time", pa.float64()),
            *(pa.field(name, _TYPES[dtype]) for name, dtype in columns.items()),
            *(pa.field(f"ts_{name}", pa.float64()) for name in columns),
        ]
    )


def create_table(
    stream: Container, schema: pa.Schema, metadata: Mapping[str, Any]
) -> AppendableTable:
    """Create a stream's empty table, ordered by seq_num whatever the storage does.

    In the database it gets a table of its own. Tiled's default, one for all streams
    of the same columns, has an index for the first such table only: a read of one
    run would go through the rows of all. (``create_appendable_table`` has no
    argument for the order.)
    """
    name = hashlib.sha256(f"{stream.uri} {schema}".encode()).hexdigest()[:32]
    source = DataSource(
        structure_family=StructureFamily.table,
        structure=TableStructure.from_schema(schema, 1),
        mimetype="application/x-tiled-sql-table",
        parameters={
            "order_by_args": [{"column": "seq_num", "direction": "asc"}],
            "table_name": f"stream_{name}",
        },
    )
    table: AppendableTable = stream.new(
        StructureFamily.table,
        [source],
        key=TABLE_KEY,
        metadata={k: v for k, v in metadata.items() if k in schema.names},
    )
    return table


def event_as_page(doc: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event as an event_page of one row."""
    return {
        "descriptor": doc["descriptor"],
        "seq_num": [doc["seq_num"]],
        "time": [doc["time"]],
        "data": {key: [value] for key, value in doc["data"].items()},
        "timestamps": {key: [value] for key, value in doc["timestamps"].items()},
    }


class RowBuffer:
    """Rows of one stream on their way to the table, column by column."""

    def __init__(self, schema: pa.Schema, stream: str) -> None:
        self.schema = schema
        self.stream = stream
        self._columns: dict[str, list[Any]] = {name: [] for name in schema.names}

    def __len__(self) -> int:
        return len(self._columns["seq_num"])

    def add(self, doc: Mapping[str, Any], keep: Sequence[int] | None = None) -> None:
        """Take the rows of an event_page, or those at the indices in ``keep``.

        Raises PublishError if a column is missing or of another length.
        """
        rows = len(doc["seq_num"])
        for name, target in self._columns.items():
            column = self._column(doc, name)
            if len(column) != rows:
                raise PublishError(
                    f"stream {self.stream}: {name} has {len(column)} values in a page "
                    f"of {rows} rows"
                )
            target.extend(column if keep is None else [column[i] for i in keep])

    def drop_up_to(self, seq_num: int) -> None:
        """Forget the rows that the table has already."""
        numbers = self._columns["seq_num"]
        if not numbers or min(numbers) > seq_num:
            return
        keep = [i for i, n in enumerate(numbers) if n > seq_num]
        self._columns = {
            name: [column[i] for i in keep] for name, column in self._columns.items()
        }

    def page(self) -> pa.Table:
        """Return the first rows, at most PAGE_ROWS, as typed columns.

        Raises PublishError if a value does not fit the type of its key.
        """
        arrays = []
        for field in self.schema:
            values = self._columns[field.name][:PAGE_ROWS]
            try:
                arrays.append(_typed(values, field.type))
            except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
                raise PublishError(
                    f"stream {self.stream}: a value of {field.name} is no "
                    f"{field.type}: {error}; the device describes it wrongly"
                ) from error
        return pa.Table.from_arrays(arrays, schema=self.schema)

    def discard_page(self) -> None:
        """Forget the rows that ``page`` returned: they are in the table."""
        for column in self._columns.values():
            del column[:PAGE_ROWS]

    def _column(self, doc: Mapping[str, Any], name: str) -> Any:
        try:
            if name in ("seq_num", "time"):
                return doc[name]
            if name in doc["data"]:
                return doc["data"][name]
            return doc["timestamps"][name.removeprefix("ts_")]
        except KeyError:
            raise PublishError(
                f"stream {self.stream}: no value of {name} at {doc['seq_num'][:1]}, "
                "though the descriptor names it"
            ) from None


def _typed(values: list[Any], dtype: pa.DataType) -> pa.Array:
    """Return a column of one type; None stays missing, nothing is rounded."""
    if pa.types.is_boolean(dtype):
        # EPICS binary inputs are described as boolean and read as 0 and 1.
        unlike = {v for v in values if v is not None and v not in (0, 1)}
        if unlike:
            raise ValueError(f"{unlike.pop()!r} is neither true nor false")
        values = [None if v is None else bool(v) for v in values]
    elif pa.types.is_integer(dtype) and any(isinstance(v, float) for v in values):
        return pa.array(values, pa.float64()).cast(dtype)
    return pa.array(values, dtype)
