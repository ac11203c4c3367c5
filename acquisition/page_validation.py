"""A check of event pages whose cost does not grow with every number in them.

event-model checks each element of each column against a schema, some 50 checks a row:
20 of the 27 CPU seconds that a session spent on nine days of points. A column is a
list of one kind, made from one array; so the whole schema is held against the first
row of a page, and of the others what can differ: that each column is as long.
"""

from typing import Any

from event_model import DocumentNames, schema_validators

__all__ = ["install", "validate_page"]


def validate_page(doc: dict[str, Any]) -> None:
    """Raise what the schema raises for the first row, ValueError for a short column."""
    first = {key: _first(value) for key, value in doc.items()}
    for key in ("data", "timestamps", "filled"):
        first[key] = {name: column[:1] for name, column in doc.get(key, {}).items()}
    _schema.validate(first)
    count = len(doc["seq_num"])
    columns = [(key, doc[key]) for key in ("time", "uid")]
    columns += [*doc["data"].items(), *doc["timestamps"].items()]
    for name, column in columns:
        if len(column) != count:
            raise ValueError(
                f"a page of {count} events has {len(column)} values of {name}; nothing "
                "of it was kept"
            )


def install() -> None:
    """Use it for every page that this process composes; doing it twice changes nothing.

    Documents of other kinds, and events one by one, are checked as ever.
    """
    schema_validators[DocumentNames.event_page] = _PageValidator()


class _PageValidator:
    """What event-model asks of a validator."""

    def validate(self, doc: dict[str, Any]) -> None:
        """Check a page."""
        validate_page(doc)


_schema = schema_validators[DocumentNames.event_page]


def _first(value: Any) -> Any:
    return value[:1] if isinstance(value, list) else value
