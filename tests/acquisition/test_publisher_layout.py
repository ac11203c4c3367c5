"""What the publisher writes is what bluesky's own TiledWriter would have written."""

import math

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import pytest
from bluesky import RunEngine
from ophyd import Component, Device, Signal
from tiled.queries import Key

from cryoline.acquisition.journal import Journal
from cryoline.acquisition.tiled_access import search

pytestmark = pytest.mark.tiled


class Sensor(Device):
    """Readings of every scalar kind, and a configuration."""

    potential = Component(Signal, value=0.5)
    cycle_number = Component(Signal, value=1)
    note = Component(Signal, value="a note")
    gain = Component(Signal, value=3.0, kind="config")


@pytest.fixture(scope="module")
def catalog(embedded_tiled):
    from tiled.client import from_uri

    client = from_uri(embedded_tiled.url(), api_key=embedded_tiled.api_key())
    yield client
    client.context.close()


@pytest.fixture
def both(layout, catalog, start_publisher, wait_published):
    """The same run, from the publisher and from TiledWriter."""
    from bluesky_tiled_plugins import TiledWriter

    if "by_writer" not in catalog:
        catalog.create_container("by_writer")
    # A key of its own, in the catalog that all tests share.
    counted = len(catalog["by_writer"])
    engine = RunEngine(
        {"specimen": "Si_1", "ancestors": ["w"], "scan_id": 2_000_000 + counted}
    )
    engine.subscribe(Journal(layout.raw_journal))
    engine.subscribe(TiledWriter(catalog["by_writer"], batch_size=5))
    sensor, temperature = Sensor(name="sensor"), Signal(name="temperature", value=20.5)

    @bpp.baseline_decorator([temperature])
    @bpp.run_decorator(md={"technique": "cyclic-voltammetry", "big": 2**60})
    def plan():
        for number in range(12):
            sensor.potential.put(number / 10)
            sensor.cycle_number.put(1 + number // 4)
            yield from bps.create("primary")
            yield from bps.read(sensor)
            yield from bps.save()
            if number == 6:
                # A second descriptor: the configuration changed within the run.
                yield from bps.configure(sensor, {"gain": 7.0})

    sensor.configure = lambda values: (
        sensor.read_configuration(),
        [sensor.gain.put(values["gain"]), sensor.read_configuration()][1],
    )
    uids = engine(plan())
    assert isinstance(uids, tuple)  # call_returns_result is off
    (uid,) = uids
    (path,) = layout.raw_journal.glob("*.jsonl")
    start_publisher()
    wait_published(path.stem)
    run = catalog["raw", path.stem]
    return run, catalog["by_writer", uid]


def test_nodes_specs_metadata_tables_and_documents_are_the_same(both):
    ours, theirs = both
    assert ours.specs == theirs.specs
    assert dict(ours.metadata["start"]) == dict(theirs.metadata["start"])
    assert dict(ours.metadata["stop"]) == dict(theirs.metadata["stop"])
    assert sorted(ours) == sorted(theirs) == ["baseline", "primary"]
    for stream in ("baseline", "primary"):
        mine, other = ours[stream].base, theirs[stream].base
        assert mine.specs == other.specs
        assert dict(mine.metadata) == dict(other.metadata)
        assert sorted(mine) == sorted(other) == ["internal"]
        assert dict(mine["internal"].metadata) == dict(other["internal"].metadata)
        table, expected = mine["internal"].read(), other["internal"].read()
        assert list(table.columns) == list(expected.columns)
        assert table.equals(expected.astype(table.dtypes))
        assert set(ours[stream].read().variables) == set(
            theirs[stream].read().variables
        )
    assert "_config_updates" in ours["primary"].base.metadata
    documents = list(ours.documents())
    assert documents == list(theirs.documents())
    assert [name for name, _ in documents][:1] == ["start"]
    assert sum(name == "descriptor" for name, _ in documents) == 3


def test_bluesky_clients_find_and_read_a_run_by_its_readable_key(both, catalog):
    run, _ = both
    runs = catalog["raw"]
    assert runs[run.metadata["start"]["uid"]].item["id"] == run.item["id"]
    potential = run["primary"].read()["sensor_potential"].values
    assert potential.tolist() == [n / 10 for n in range(12)]
    assert not any(map(math.isnan, potential))
    block = run.metadata["cryoline"]
    assert block["cycle_number"] == 3
    found = search(
        search(runs, Key("cryoline.specimen") == "Si_1"),
        Key("cryoline.cycle_number") > 2,
    )
    assert run.item["id"] in list(found)
    assert not list(search(runs, Key("cryoline.specimen") == "Ge_1"))
