"""Runs are found in Tiled by what their specimens have received: a real server."""

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import pytest
from bluesky import RunEngine
from tiled.queries import In, Key

from cryoline.acquisition.dose_columns import DoseColumns
from cryoline.acquisition.dose_records import Settlement
from cryoline.acquisition.journal import Journal
from cryoline.acquisition.replay import replay
from cryoline.acquisition.tiled_access import search

pytestmark = pytest.mark.tiled

EXPOSED = (("hot", 2.0e6), ("hot", 6.0e6), ("cool", 4.9e6))
"""Specimens in the order of their runs, and what each run brings them to."""


@pytest.fixture
def runs(layout, embedded_tiled):
    """Make the runs, and return specimen -> their keys, with a way to replay them."""
    engine = RunEngine({"scan_id": 3_000_000})
    engine.subscribe(Journal(layout.raw_journal))
    received = dict.fromkeys(("hot", "cool"), 0.0)

    def plan(specimen, reached):
        @bpp.run_decorator(md={"specimen": specimen, "technique": "exposure"})
        def inner():
            for after in ((received[specimen] + reached) / 2, reached):
                cost, prior = after - received[specimen], received[specimen]
                settled = Settlement("ticket", cost, cost, False, prior, after, 1e7)
                received[specimen] = after
                yield from bps.create("primary")
                yield from bps.read(DoseColumns(settled))
                yield from bps.save()

        return inner()

    for specimen, reached in EXPOSED:
        engine(plan(specimen, reached))
    keys = sorted(path.stem for path in layout.raw_journal.glob("*.jsonl"))

    def replay_all():
        url, api_key = embedded_tiled.url(), embedded_tiled.api_key()
        results = replay(layout, url, api_key)
        assert {r.state for r in results} <= {"verified", "rebuilt"}

    return keys, replay_all


def test_runs_of_specimens_above_a_fluence_are_found_and_a_replay_finds_the_same(
    runs, tiled_root
):
    keys, replay_all = runs
    replay_all()
    raw = tiled_root["raw"]

    def blocks():
        return {key: dict(raw[key].metadata["cryoline"]) for key in keys}

    first = blocks()
    by_specimen = [
        (block["specimen"], block["fluence_max_e_per_nm2"]) for block in first.values()
    ]
    assert sorted(by_specimen) == sorted(EXPOSED)

    # As documents.md says: all runs of the specimens that are above.
    above = search(raw, Key("cryoline.fluence_max_e_per_nm2") > 5e6)
    specimens = {run.metadata["cryoline"]["specimen"] for run in above.values()}
    found = search(raw, In("cryoline.specimen", sorted(specimens)))

    assert specimens == {"hot"}
    assert sorted(found) == sorted(key for key in keys if "_hot_" in key)
    spoilt = raw[keys[0]]
    spoilt.update_metadata({"cryoline": {"specimen": "nobody"}})
    assert blocks() != first
    replay_all()
    assert blocks() == first
