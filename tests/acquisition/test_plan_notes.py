"""What a plan notes is part of its events, as any reading."""

import math
from typing import Any

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import pytest
from bluesky import RunEngine
from event_model import DocumentNames, schema_validators

from cryoline.acquisition.plan_notes import PlanNotes


def test_notes_arrive_in_the_event_with_their_units() -> None:
    notes = PlanNotes("tilt", {"target_deg": "deg", "at_rest": ""})
    documents: list[tuple[str, dict[str, Any]]] = []

    @bpp.run_decorator()
    def plan():
        notes.note(target_deg=-5, at_rest=True)
        yield from bps.trigger_and_read([notes])
        notes.clear()
        yield from bps.trigger_and_read([notes])

    RunEngine({}, context_managers=[])(plan(), lambda *doc: documents.append(doc))

    for name, doc in documents:
        schema_validators[DocumentNames[name]].validate(doc)
    keys = next(doc for name, doc in documents if name == "descriptor")["data_keys"]
    assert keys["tilt_target_deg"]["units"] == "deg"
    first, second = (doc["data"] for name, doc in documents if name == "event")
    assert first == {"tilt_target_deg": -5.0, "tilt_at_rest": 1.0}
    assert all(math.isnan(value) for value in second.values())


def test_a_field_that_was_not_declared_is_an_error() -> None:
    with pytest.raises(KeyError, match="tilt has no field 'target_rad'"):
        PlanNotes("tilt", {"target_deg": "deg"}).note(target_rad=1.0)
