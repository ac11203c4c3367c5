"""A page is refused for what event-model refuses, whatever its length."""

import time
from typing import Any

import event_model
import pytest
from event_model import EventModelValidationError

from cryoline.acquisition import page_validation


def page(rows: int, **changes: Any) -> dict[str, Any]:
    columns = [f"x{k}" for k in range(12)]
    return {
        "descriptor": "d",
        "uid": [str(k) for k in range(rows)],
        "seq_num": list(range(1, rows + 1)),
        "time": [0.0] * rows,
        "data": {name: [1.0] * rows for name in columns},
        "timestamps": {name: [0.0] * rows for name in columns},
        "filled": {},
        **changes,
    }


def test_a_whole_page_passes_in_a_time_that_does_not_grow_with_it() -> None:
    page_validation.validate_page(page(1))
    begun = time.process_time()
    page_validation.validate_page(page(50_000))
    # By elements it takes 7 s here; a tenth is far above what one row takes.
    assert time.process_time() - begun < 0.7


@pytest.mark.parametrize(
    "changes",
    [{"uid": [1] * 3}, {"seq_num": ["1"] * 3}, {"time": ["now"] * 3}, {"extra": 1}],
)
def test_a_wrong_column_is_refused_as_ever(changes: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=r"is not|nexpected") as refusal:
        page_validation.validate_page(page(3, **changes))
    assert not isinstance(refusal.value, AssertionError)


def test_a_column_that_is_short_is_refused_by_name() -> None:
    short = page(3)
    short["data"]["x4"] = [1.0]
    with pytest.raises(ValueError, match="3 events has 1 values of x4"):
        page_validation.validate_page(short)


def test_it_is_what_composing_a_page_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    key = event_model.DocumentNames.event_page
    monkeypatch.setitem(event_model.schema_validators, key, None)
    page_validation.install()
    run = event_model.compose_run()
    stream = run.compose_descriptor(
        name="points",
        data_keys={"x": {"source": "s", "dtype": "number", "shape": []}},
    )
    with pytest.raises(Exception, match=r"is not of type") as refusal:
        stream.compose_event_page(
            data={"x": [1.0]}, timestamps={"x": [0.0]}, seq_num=["one"]
        )
    assert not isinstance(refusal.value, EventModelValidationError)
