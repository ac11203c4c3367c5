"""Frames in detector files: registered as TiledWriter would, and only true ones."""

import os
import random
import signal
import threading

import bluesky.plan_stubs as bps
import bluesky.preprocessors as bpp
import numpy as np
import pytest
from bluesky import RunEngine

from cryoline.acquisition.journal import Journal
from cryoline.acquisition.journal_recovery import close_interrupted
from cryoline.acquisition.process_identity import read_state
from cryoline.acquisition.replay import replay

pytestmark = pytest.mark.tiled


@pytest.fixture(scope="module")
def catalog(embedded_tiled):
    """Tiled as anybody connects to it."""
    from tiled.client import from_uri

    client = from_uri(embedded_tiled.url(), api_key=embedded_tiled.api_key())
    yield client
    client.context.close()


@pytest.fixture
def engine(layout):
    """A RunEngine whose runs are journaled."""
    engine = RunEngine({"specimen": "nw-01", "technique": "tilt-eds"})
    engine.scan_id_source = lambda md: random.randrange(10**6, 10**9)
    engine.subscribe(Journal(layout.raw_journal))
    return engine


@pytest.fixture
def key_of(layout):
    def key():
        (path,) = layout.raw_journal.glob("*.jsonl")
        return path.stem

    return key


def frames(camera, number, *, between=lambda index: None, stop=True):
    """Record so many events in one run."""

    @bpp.run_decorator()
    def plan():
        for index in range(number):
            yield from bps.trigger_and_read([camera], name="primary")
            between(index)

    return plan()


def expected(number, shape=(3, 4)):
    return np.arange(number, dtype="<u2").reshape(-1, 1, 1) * np.ones(shape, "<u2")


def test_frames_and_rows_are_read_together_as_tiled_writer_gives_them(
    engine, make_camera, key_of, start_publisher, wait_published, catalog
):
    from bluesky_tiled_plugins import TiledWriter

    if "by_writer" not in catalog:
        catalog.create_container("by_writer")
    engine.subscribe(TiledWriter(catalog["by_writer"], batch_size=1))
    camera = make_camera()
    (uid,) = engine(frames(camera, 6))
    start_publisher()

    marker = wait_published(key_of())

    assert marker["rows"] == {"primary": 6}
    assert marker["frames"] == {"primary/cam_image": 6}
    run, theirs = catalog["raw", key_of()], catalog["by_writer", uid]
    data = run["primary"].read()
    assert np.array_equal(data["cam_image"], expected(6))
    assert data["cam_image"].dims == ("time", "y", "x")
    assert data["cam_counts"].dims == ("time",)
    assert np.array_equal(run["primary", "cam_image"][4], expected(6)[4])
    mine, other = run["primary"].base["cam_image"], theirs["primary"].base["cam_image"]
    assert dict(mine.metadata) == dict(other.metadata)
    assert mine.dtype == other.dtype
    source, reference = mine.data_sources()[0], other.data_sources()[0]
    assert source.mimetype == reference.mimetype
    assert source.parameters == reference.parameters
    assert [(a.data_uri, a.parameter, a.num) for a in source.assets] == [
        (a.data_uri, a.parameter, a.num) for a in reference.assets
    ]
    assert source.management == reference.management == "external"
    names = [name for name, _ in run.documents()]
    assert names.count("event") == 6
    assert names.count("stream_datum") == 1


def test_frames_are_seen_while_the_run_goes_on_and_only_when_they_are_there(
    engine, make_camera, key_of, start_publisher, wait_published, wait_for, catalog
):
    camera = make_camera(lose=[3])
    start_publisher()
    seen = []

    def look(index):
        if index == 2:
            node = wait_for(lambda: _node(catalog, key_of()), "the array")
            wait_for(lambda: node.refresh().shape[0] == 3, "three frames")
            seen.append(node.read())
        if index == 3:
            # Told of, and not on disk: Tiled must not be told.
            threading.Event().wait(1.0)
            seen.append(_node(catalog, key_of()).refresh().shape[0])
            camera.write(3)

    engine(frames(camera, 5, between=look))

    assert np.array_equal(seen[0], expected(3))
    assert seen[1] == 3
    assert wait_published(key_of())["frames"] == {"primary/cam_image": 5}
    assert np.array_equal(_node(catalog, key_of()).read(), expected(5))


def _node(catalog, key):
    try:
        return catalog["raw", key, "primary"].base["cam_image"]
    except KeyError:
        return None


def test_a_subscriber_hears_of_each_new_frame(
    engine, make_camera, key_of, start_publisher, wait_published, wait_for, catalog
):
    camera = make_camera()
    start_publisher()
    heard = []

    def listen(update):
        heard.append((update.patch.offset[0], update.data()[:, 0, 0].tolist()))

    def subscribe(index):
        if index == 0:
            node = wait_for(lambda: _node(catalog, key_of()), "the array")
            subscription = node.subscribe()
            subscription.new_data.add_callback(listen)
            subscription.start_in_thread(start=0)
        wait_for(
            lambda: _node(catalog, key_of()).shape[0] == index + 1, "the next frame"
        )

    engine(frames(camera, 4, between=subscribe))
    wait_published(key_of())

    wait_for(lambda: len(heard) >= 3, "three updates")
    assert heard[-3:] == [(1, [1]), (2, [2]), (3, [3])]


def test_publishers_killed_over_a_growing_run_leave_every_frame_once(
    engine, make_camera, key_of, start_publisher, wait_published, wait_for, layout,
    catalog,
):  # fmt: skip
    chance = random.Random(3)
    camera = make_camera()

    def kill_one(index):
        publisher = start_publisher()
        wait_for(
            lambda: (
                (read_state(layout.services / "publisher.json") or {}).get("pid")
                == publisher.pid
            ),
            "a publisher",
        )
        publisher.join(0.05 + 0.4 * chance.random())
        os.kill(publisher.pid, signal.SIGKILL)
        publisher.join()

    engine(frames(camera, 6, between=kill_one))
    start_publisher()

    marker = wait_published(key_of())

    assert (marker["rows"], marker["frames"]) == (
        {"primary": 6},
        {"primary/cam_image": 6},
    )
    assert np.array_equal(
        catalog["raw", key_of(), "primary"].read()["cam_image"], expected(6)
    )


def test_a_session_killed_between_frame_and_event_leaves_what_can_be_read(
    engine, make_camera, key_of, layout, start_publisher, wait_published, catalog
):
    engine(frames(make_camera(), 4))
    path = layout.raw_journal / f"{key_of()}.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    # Without the stop document, the last event, and torn in the line of its frame.
    assert b"stream_datum" in lines[-3]
    path.write_bytes(b"".join(lines[:-2]) + lines[-2][:50])
    close_interrupted(layout.raw_journal)
    start_publisher()

    marker = wait_published(key_of())

    assert marker["rows"] == {"primary": 3}
    assert marker["frames"] == {"primary/cam_image": 3}
    run = catalog["raw", key_of()]
    assert run.metadata["stop"]["exit_status"] == "abort"
    assert np.array_equal(run["primary"].read()["cam_image"], expected(3))


def test_a_run_whose_frames_are_not_in_the_file_fails_alone(
    engine, make_camera, layout, run_maker, embedded_tiled, wait_for, wait_published,
    key_of, monkeypatch,
):  # fmt: skip
    from cryoline.acquisition import publication_loop

    engine(frames(make_camera(lose=[2]), 3))
    lost = key_of()
    sound = run_maker(Journal(layout.raw_journal))
    sound.page(5)
    sound.stop()
    monkeypatch.setattr(publication_loop, "_ATTEMPTS", 3)
    publisher = publication_loop.Publisher(
        layout, embedded_tiled.url(), embedded_tiled.api_key()
    )
    try:
        wait_for(publisher.step, "both runs are settled")
    finally:
        publisher.close()

    assert wait_published(sound.key)["rows"] == {"points": 5}
    why = "2 frames of primary/cam_image in the file, 3 in the run"
    assert why in wait_published(lost)


def test_a_file_that_tiled_may_not_read_is_refused_before_it_is_registered(
    engine, make_camera, tmp_path, key_of, start_publisher, wait_published
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    engine(frames(make_camera(elsewhere), 2))
    start_publisher()

    reason = wait_published(key_of())

    assert "lies in no folder that Tiled may read" in reason
    assert "[paths.NAME]" in reason


def test_frames_that_do_not_count_like_the_events_are_refused(
    engine, make_camera, key_of, start_publisher, wait_published
):
    camera = make_camera()

    def skip(index):
        if index == 1:
            camera.write(2)
            camera.told = 3  # a rewound plan exposes again, into a further slot

    engine(frames(camera, 4, between=skip))
    start_publisher()

    reason = wait_published(key_of())

    assert "frame 3 belongs to event 3, after 2 frames" in reason


def test_replay_twice_changes_nothing_and_finds_a_moved_file(
    engine, make_camera, key_of, layout, embedded_tiled, catalog
):
    engine(frames(make_camera(), 3))
    key = key_of()

    def replayed():
        (result,) = replay(layout, embedded_tiled.url(), embedded_tiled.api_key())
        assert (result.state, result.frames) == ("verified", {"primary/cam_image": 3})
        item = dict(catalog["raw", key, "primary"].base["cam_image"].item)
        return item["attributes"]["structure"], item["attributes"].get("time_updated")

    assert replayed() == replayed()
    (file,) = layout.raw_data.glob("*.h5")
    moved = layout.raw_data / "archive" / file.name
    moved.parent.mkdir()
    file.rename(moved)
    path = layout.raw_journal / f"{key}.jsonl"
    path.write_bytes(path.read_bytes().replace(bytes(file), bytes(moved)))
    replayed()
    assert np.array_equal(
        catalog["raw", key, "primary"].read()["cam_image"], expected(3)
    )
