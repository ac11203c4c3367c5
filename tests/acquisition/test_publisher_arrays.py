"""Arrays of the analysis in Tiled: by file, whole, live, the same after a replay."""

import os
import random
import signal
import threading

import numpy as np
import pytest

from cryoline.acquisition.derived_journal import DerivedJournal
from cryoline.acquisition.process_identity import read_state
from cryoline.acquisition.replay import replay
from cryoline.acquisition.result_files import ResultFiles

pytestmark = pytest.mark.tiled

SHAPE = (6, 8)


class Derived:
    """A derived run in the making, as the analysis worker writes one."""

    _numbers = iter(range(1, 1_000_000))

    def __init__(self, layout, run_maker):
        self.key = f"2026-11-20_nw-01_tilt-eds_{next(self._numbers):06d}_element-maps"
        self.path = layout.derived_journal / f"{self.key}.jsonl"
        self._journal = DerivedJournal(self.path)
        self.run = run_maker(self._journal, quantity="element-maps")
        self._files = ResultFiles(layout, self.run.start["uid"])
        self.folder = layout.results / self.run.start["uid"]

    def save(self, value, *, key="Si", **what):
        """Write an array full of one value."""
        array = np.full(SHAPE, value, "<f4")
        defaults = {"version": int(value), "time": 1e9 + value, "dims": ("y", "x")}
        doc = self._files.write(
            key, array, **defaults, units="counts", scale_nm=2.134, **what
        )
        self._journal("result_file", doc)

    def stop(self):
        self.run.stop()
        self._journal.close()


@pytest.fixture
def derived(layout, run_maker):
    return Derived(layout, run_maker)


@pytest.fixture(scope="module")
def catalog(embedded_tiled):
    """Tiled as anybody connects to it."""
    from tiled.client import from_uri

    client = from_uri(embedded_tiled.url(), api_key=embedded_tiled.api_key())
    yield client
    client.context.close()


def arrays(catalog, key):
    try:
        return catalog["derived", key, "arrays"].base
    except KeyError:
        return {}


def test_a_live_array_is_overwritten_and_kept_versions_stay(
    derived, catalog, start_publisher, wait_published, wait_for
):
    start_publisher()
    derived.save(1, live=True)
    derived.save(1, attributes={"element": "Si"})
    wait_for(lambda: "Si" in arrays(catalog, derived.key), "the live array")
    held = arrays(catalog, derived.key)["Si"]
    heard = []

    def listen(update):
        heard.append(update.data()[0, 0])

    subscription = held.subscribe()
    subscription.new_data.add_callback(listen)
    subscription.start_in_thread()
    for value in (2, 3):
        derived.save(value, live=True)
        wait_for(lambda value=value: value in heard, f"version {value}")
        # A client that was open all the time, and one that opens now.
        assert np.array_equal(held.read(), np.full(SHAPE, value))
        assert np.array_equal(
            arrays(catalog, derived.key)["Si"].read(), np.full(SHAPE, value)
        )
    derived.save(3)
    derived.stop()

    assert wait_published(derived.key, "derived")["arrays"] == 3
    found = arrays(catalog, derived.key)
    assert sorted(found) == ["Si", "Si_v0001", "Si_v0003"]
    assert np.array_equal(found["Si_v0001"].read(), np.full(SHAPE, 1))
    assert found["Si"].dims == ("y", "x")
    metadata = dict(found["Si_v0001"].metadata)
    assert metadata["element"] == "Si"
    assert (metadata["units"], metadata["scale_nm"]) == ("counts", 2.134)
    assert found["Si"].metadata["version"] == 3


def test_a_run_with_arrays_is_read_validated_and_exported_as_any_other(
    derived, catalog, start_publisher, wait_published
):
    derived.run.page(7)
    derived.save(4, live=True)
    derived.save(4, key="O", live=True)
    derived.stop()
    start_publisher()
    wait_published(derived.key, "derived")

    run = catalog["derived", derived.key]
    data = run["arrays"].read()
    assert data["Si"].dims == ("y", "x")
    assert np.array_equal(data["O"], np.full(SHAPE, 4))
    assert len(run["points"].read()["pot_potential_v"]) == 7
    with pytest.warns(UserWarning, match="does not support remote validation"):
        assert run.validate(raise_on_error=True, write_notes=False)
    names = [name for name, _ in run.documents()]
    assert names.count("event") == 7
    assert names.count("stream_resource") == names.count("stream_datum") == 2


def test_publishers_killed_while_they_register_leave_each_array_once(
    derived, catalog, start_publisher, wait_published, wait_for, layout
):
    chance = random.Random(5)
    done = threading.Event()

    def grow():
        for value in range(1, 500):
            derived.save(value, live=True)
            if value % 10 == 0:
                derived.save(value)
            if done.wait(0.05):
                break
        derived.stop()

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        for _ in range(5):
            publisher = start_publisher()
            wait_for(
                lambda pid=publisher.pid: (
                    (read_state(layout.services / "publisher.json") or {}).get("pid")
                    == pid
                ),
                "a publisher",
            )
            publisher.join(0.2 + 0.3 * chance.random())
            os.kill(publisher.pid, signal.SIGKILL)
            publisher.join()
    finally:
        done.set()
        writer.join()
    start_publisher()

    marker = wait_published(derived.key, "derived")

    kept = {path.stem for path in derived.folder.iterdir()}
    assert marker["arrays"] == len(kept)
    found = arrays(catalog, derived.key)
    assert set(found) == kept
    last = max(found["Si"].read().flat)
    assert found["Si"].metadata["version"] == last
    for name in sorted(kept - {"Si"})[-3:]:
        assert np.array_equal(found[name].read(), np.full(SHAPE, int(name[-4:])))


def test_replay_twice_changes_nothing_and_makes_everything_again_if_need_be(
    derived, catalog, layout, embedded_tiled
):
    derived.save(1)
    derived.save(2, live=True)
    derived.stop()

    def replayed():
        (result,) = replay(layout, embedded_tiled.url(), embedded_tiled.api_key())
        assert result.state == "verified"
        found = arrays(catalog, derived.key)
        return {
            name: (
                found[name].item["id"],
                dict(found[name].metadata),
                found[name].read().tolist(),
                len(found[name].metadata_revisions[:]),
            )
            for name in found
        }

    first = replayed()
    assert sorted(first) == ["Si", "Si_v0001"]
    assert replayed() == first
    catalog["derived"].delete_contents(derived.key, recursive=True, external_only=False)
    assert len(list(derived.folder.iterdir())) == 2  # deleting a node keeps its file
    assert replayed() == first


@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_a_result_file_that_is_not_what_it_was_fails_its_run_alone(
    derived, run_maker, layout, embedded_tiled, wait_for, wait_published, monkeypatch,
    damage,
):  # fmt: skip
    from cryoline.acquisition import publication_loop

    derived.save(1)
    derived.save(2)
    derived.stop()
    sound = Derived(layout, run_maker)
    sound.save(7)
    sound.stop()
    path = derived.folder / "Si_v0002.h5"
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        os.truncate(path, 100)
    else:
        path.write_bytes((derived.folder / "Si_v0001.h5").read_bytes())
    monkeypatch.setattr(publication_loop, "_ATTEMPTS", 2)
    publisher = publication_loop.Publisher(
        layout, embedded_tiled.url(), embedded_tiled.api_key()
    )
    try:
        wait_for(publisher.step, "both runs are settled")
    finally:
        publisher.close()

    assert wait_published(sound.key, "derived")["arrays"] == 1
    reason = wait_published(derived.key, "derived")
    assert str(path) in reason
    said = {"missing": "no such file", "cut": "damaged", "other": "not the array that"}
    assert said[damage] in reason
