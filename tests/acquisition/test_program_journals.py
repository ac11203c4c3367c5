"""A session dies, another goes on: the program's cycles are those of one run."""

from __future__ import annotations

import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import event_model
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cryoline.acquisition.analyses import ANALYSES
from cryoline.acquisition.derivation import Derivation
from cryoline.acquisition.errors import JournalError
from cryoline.acquisition.export_run import read_run
from cryoline.acquisition.journal_format import encode_line
from cryoline.acquisition.journal_reader import read_documents
from cryoline.acquisition.layout import DataLayout
from cryoline.acquisition.path_map import PathMap
from cryoline.acquisition.program_journals import points_before, runs_before
from cryoline.analysis.cycling_tables import cycling_tables

CYCLING = ANALYSES[0]
PROGRAM = {"uid": "the-program", "steps": []}
HALF = 30
CYCLES = 4
ROWS = 2 * HALF * CYCLES
LOST_AT = 75
"""Where the instrument reports a lost contact."""


def record() -> dict[str, np.ndarray]:
    """Sweeps with a peak each way, a capacity that fades, and noise."""
    down = np.linspace(1.5, 0.1, HALF)
    shape = 1e-5 * np.exp(-((down - 0.5) ** 2) / 0.02)
    one = np.r_[-shape, 0.97 * shape[::-1]]
    fade = np.repeat(0.96 ** np.arange(CYCLES), 2 * HALF)
    noise = np.random.default_rng(6).normal(0, 1e-9, ROWS)
    current_a = np.tile(one, CYCLES) * fade + noise
    number = np.arange(ROWS)
    return {
        "point_index": number,
        "instrument_time_s": 25.0 * (1 + number),
        "potential_v": np.tile(np.r_[down, down[::-1]], CYCLES),
        "current_a": current_a,
        "charge_mah": np.cumsum(current_a * 25.0) / 3.6,
        "cycle_number": 1 + number // (2 * HALF),
        "half_cycle": number // HALF,
        "contact": np.where(number == LOST_AT, 0, 1),
    }


POINTS = record()


def write_run(folder: Path, first: int, last: int, rows: int, before: str | None):
    """Journal the points from first to last; return key and uid of the run."""
    md: dict[str, Any] = {"program": PROGRAM, "electrode": {"mass_mg": 2.0}}
    if before is not None:
        md |= {"continues": before, "first_point": first}
    run = event_model.compose_run(metadata=md)
    keys = {
        f"pot_{name}": {"source": "x", "dtype": "number", "shape": []}
        for name in POINTS
    }
    points = run.compose_descriptor(name="points", data_keys=keys)
    documents = [("start", run.start_doc), ("descriptor", points.descriptor_doc)]
    for begin in range(first, last, rows):
        part = slice(begin, min(begin + rows, last))
        data = {f"pot_{name}": c[part].tolist() for name, c in POINTS.items()}
        now = [time.time()] * (part.stop - part.start)
        page = points.compose_event_page(
            data=data,
            timestamps=dict.fromkeys(data, now),
            seq_num=list(range(begin - first + 1, part.stop - first + 1)),
            time=now,
            validate=False,
        )
        documents.append(("event_page", page))
    status = "success" if last == ROWS else "abort"
    documents.append(("stop", run.compose_stop(exit_status=status)))
    path = folder / f"run-{first:04d}-{last:04d}-{run.start_doc['uid'][:4]}.jsonl"
    path.write_bytes(b"".join(encode_line(*document) for document in documents))
    return path.stem, run.start_doc["uid"]


def write_program(layout: DataLayout, cuts: list[int], rows: int = 17) -> list[str]:
    """Journal the program in runs that end at the cuts; return their keys."""
    keys, before = [], None
    edges = [0, *sorted(cuts), ROWS]
    for first, last in pairwise(edges):
        key, before = write_run(layout.raw_journal, first, last, rows, before)
        keys.append(key)
    return keys


class Outbox(list[Any]):
    put = list.append


def analyse(layout: DataLayout, key: str, told: Any) -> dict[str, Any]:
    """Run the worker's cycling analysis; return the streams of the derived run."""
    derivation = Derivation(
        CYCLING, key, layout, PathMap.of(layout), lambda: False, told
    )
    for document in read_documents(layout.raw_journal / f"{key}.jsonl"):
        derivation.take(*document)
    derivation.close()
    names: dict[str, str] = {}
    tables: dict[str, Any] = {}
    for name, doc in read_documents(derivation.path):
        if name == "descriptor":
            names[doc["uid"]] = doc["name"]
            tables[doc["name"]] = {column: [] for column in doc["data_keys"]}
        elif name in ("event", "event_page"):
            for column, values in tables[names[doc["descriptor"]]].items():
                value = doc["data"][column]
                values.extend(value if name == "event_page" else [value])
    return tables


@settings(max_examples=20, deadline=None)
@given(
    cuts=st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=3),
    rows=st.integers(1, 70),
)
def test_wherever_a_program_was_cut_its_cycles_are_those_of_one_run(cuts, rows):
    expected = cycling_tables(POINTS, electrode_mass_mg=2.0)
    with tempfile.TemporaryDirectory() as folder:
        layout = DataLayout(Path(folder) / "data")
        keys, told = write_program(layout, cuts, rows), Outbox()
        tables = [analyse(layout, key, told) for key in keys]
    assert tables[-1].keys() == expected.keys()
    for stream, columns in expected.items():
        for name, values in columns.items():
            found = tables[-1][stream][name]
            np.testing.assert_array_equal(found, values, f"{stream}.{name}")
    assert tables[-1]["cycles"]["complete"] == [True] * CYCLES
    assert [alarm["kind"] for alarm in told] == ["contact_loss"]


@pytest.fixture
def layout(tmp_path):
    return DataLayout(tmp_path / "data")


def test_figures_and_exports_of_a_continuation_begin_with_the_program(layout):
    first, _, last = write_program(layout, [70, 150])

    table, ended = read_run(layout, last)

    assert ended
    for name in ("potential_v", "charge_mah", "half_cycle"):
        np.testing.assert_array_equal(getattr(table, name), POINTS[name])
    whole = read_run(layout, first)[0]
    assert len(whole) == 70
    assert table.started == whole.started


def test_a_run_that_continues_none_is_preceded_by_nothing(layout):
    key, _ = write_run(layout.raw_journal, 0, 50, 20, None)
    (_, start), *_ = read_documents(layout.raw_journal / f"{key}.jsonl")
    assert runs_before(layout.raw_journal, start) == []
    leg = {"continues": "a-leg-before", "time": 1.0}  # a transfer's has no program
    assert list(points_before(layout.raw_journal, leg)) == []


def test_a_missing_run_before_is_said(layout):
    _, middle, last = write_program(layout, [70, 150])
    (layout.raw_journal / f"{middle}.jsonl").unlink()
    words = r"from point 150; of those before, 70 is missing .* bring back the journal"
    with pytest.raises(JournalError, match=words):
        analyse(layout, last, Outbox())
    with pytest.raises(JournalError, match=words):
        read_run(layout, last)
