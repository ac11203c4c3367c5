"""What a run can be found by: made of its documents, the same at every replay."""

import math

from cryoline.acquisition.search_block import SearchBlock


def page(stream_columns, first=1):
    rows = len(next(iter(stream_columns.values())))
    return {"seq_num": list(range(first, first + rows)), "data": stream_columns}


def test_what_the_start_document_says_is_known_at_once():
    block = SearchBlock()
    block.start({"uid": "x", "specimen": "nw-01", "region": "region-1", "scan_id": 3})
    assert block.as_dict() == {"specimen": "nw-01", "region": "region-1"}


def test_the_last_cycle_counts():
    block = SearchBlock()
    block.page("points", page({"pot_cycle_number": [1, 1, 2]}))
    assert block.as_dict() == {"cycle_number": 2}


def test_tilts_are_counted_once_however_often_an_event_comes():
    block = SearchBlock()
    for first, angles in ((1, [0.0, 5.0]), (2, [5.0, 10.0])):
        block.page("primary", page({"tilt_target_deg": angles}, first))
    block.page("tracking", page({"tilt_target_deg": [0.0, 5.0, 10.0, 15.0]}))
    assert block.as_dict()["tilts"] == 3


def test_the_highest_fluence_is_that_after_the_costliest_exposure():
    block = SearchBlock()
    block.page("primary", page({"dose_after_e_per_nm2": [4e5, 7e5, math.nan, None]}))
    block.page("tracking", page({"dose_after_e_per_nm2": [1.0]}))
    block.page("tracking", page({"dose_after_e_per_nm2": [None]}))
    assert block.as_dict() == {"fluence_max_e_per_nm2": 7e5}
