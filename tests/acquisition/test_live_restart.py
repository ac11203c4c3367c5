"""Maps and volumes live: a worker that dies, or lags, changes no byte of the end."""

import os
import signal
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import event_model
import h5py
import numpy as np
import pytest

from cryoline.acquisition.analyses import ANALYSES
from cryoline.acquisition.analysis_worker import NAME, AnalysisWorker
from cryoline.acquisition.journal_format import decode_line, encode_line
from cryoline.acquisition.journal_reader import read_documents
from cryoline.acquisition.layout import DataLayout
from cryoline.acquisition.path_map import PathMap
from cryoline.acquisition.process_identity import read_state
from cryoline.sim.eels_spectrum import LossSpecimen, expected_counts, record

BENCH = Path(__file__).parents[2] / "bench"
TILTS = 3
SMALL = {"size_voxels": 16, "bin_px": 4, "live_iterations": 2, "final_iterations": 3}
QUANTITIES = ("element-maps", "element-volumes")


@dataclass
class Recorded:
    """A raw run: its journal's lines, and where its detector's file is."""

    key: str
    lines: list[bytes]
    paths: PathMap

    def worker(self, layout, analyses=ANALYSES):
        return AnalysisWorker(layout, self.paths, analyses)

    def follow(self, layout, *, at_once=False):
        """Have a worker take the rest of the run, a line at a time or all at once."""
        path = layout.raw_journal / f"{self.key}.jsonl"
        seen = path.read_bytes().count(b"\n") if path.exists() else 0
        rest = [b"".join(self.lines[seen:])] if at_once else self.lines[seen:]
        worker = self.worker(layout)
        try:
            for line in [b"", *rest]:
                with path.open("ab") as journal:
                    journal.write(line)
                while worker.look():
                    pass
        finally:
            worker.close()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    layout = DataLayout(tmp_path_factory.mktemp("recorded"))
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(BENCH))
        from tilt_session import TiltSession, render
    tilts = render(TILTS, width_px=64, pixel_nm=17.07)
    session = TiltSession(layout, tilts, volume_settings=SMALL)
    for _ in tilts:
        session.expose()
    session.end()
    (path,) = layout.raw_journal.glob("*.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    return Recorded(session.key, lines, PathMap.of(layout))


@pytest.fixture(scope="module")
def recorded_losses(tmp_path_factory):
    """Two maps of 3 x 3 energy-loss spectra."""
    layout = DataLayout(tmp_path_factory.mktemp("losses"))
    axis_ev = np.arange(-12.0, 80.0, 0.5)
    path, rng = layout.raw_data / "loss.h5", np.random.default_rng(4)
    mean = expected_counts(LossSpecimen(16.0), axis_ev, 1e5, zero_ev=np.zeros((2, 9)))
    spectra = record(mean, rng).reshape(2, 3, 3, -1)
    with h5py.File(path, "w", libver="latest") as file:
        file["entry/data/spectra"] = spectra
        file["entry"].attrs.update(
            energy_offset_ev=-12.0,
            energy_per_channel_ev=0.5,
            pixel_nm=8.0,
            readout_sigma=2.0,
        )
    run = event_model.compose_run(metadata={"specimen": "assb-03"})
    key = {
        "source": "camera",
        "dtype": "array",
        "shape": [3, 3, axis_ev.size],
        "external": "STREAM:",
    }
    charge = {"source": "beam", "dtype": "number", "shape": []}
    stream = run.compose_descriptor(
        name="primary", data_keys={"camera_loss_spectra": key, "charge_c": charge}
    )
    resource = run.compose_stream_resource(
        mimetype="application/x-hdf5",
        uri=f"file://localhost{path}",
        data_key="camera_loss_spectra",
        parameters={"dataset": "entry/data/spectra"},
    )
    lines = [("start", run.start_doc), ("descriptor", stream.descriptor_doc)]
    lines.append(("stream_resource", resource.stream_resource_doc))
    for _ in spectra:
        event = stream.compose_event(
            data={"charge_c": 1e-9}, timestamps={"charge_c": 0.0}
        )
        lines.append(("event", event))
    lines.append(("stop", run.compose_stop()))
    encoded = [encode_line(name, doc) for name, doc in lines]
    return Recorded("losses", encoded, PathMap.of(layout))


def end_of(layout):
    """All that is left of a run but the lines that tell of live pictures."""
    left = {}
    for path in sorted(layout.derived_journal.iterdir()):
        lines = path.read_bytes().splitlines(keepends=True)
        left[path.name] = [
            line for line in lines if not decode_line(line)[1].get("live")
        ]
    for path in sorted(layout.results.rglob("*.*")):
        left[path.relative_to(layout.results)] = path.read_bytes()
    return left


@pytest.fixture(scope="module")
def undisturbed(recorded, tmp_path_factory):
    layout = DataLayout(tmp_path_factory.mktemp("undisturbed"))
    recorded.follow(layout)
    return end_of(layout)


@contextmanager
def killed_at(step):
    """Die at the nth time that something is put on disk, half of a line written.

    Gives a list of what was put where until then.
    """
    done, write, fsync = [], os.write, os.fsync

    def count(what, fd, content=b""):
        done.append((what, os.readlink(f"/proc/self/fd/{fd}")))
        if len(done) == step:
            if content:
                write(fd, bytes(content)[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)

    def counted_write(fd, content):
        count("write", fd, content)
        return write(fd, content)

    def counted_fsync(fd):
        count("fsync", fd)
        fsync(fd)

    os.write, os.fsync = counted_write, counted_fsync
    try:
        yield done
    finally:
        os.write, os.fsync = write, fsync


def lives_until(step, recorded, layout):
    """Have a worker of its own process follow the run, and be killed at a step."""
    pid = os.fork()
    if pid == 0:
        with killed_at(step):
            recorded.follow(layout)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("kind", ["recorded", "recorded_losses"])
def test_a_worker_killed_anywhere_in_a_series_leaves_no_trace(kind, request, tmp_path):
    recorded = request.getfixturevalue(kind)
    with killed_at(-1) as done:
        recorded.follow(whole := DataLayout(tmp_path / "whole"))
    undisturbed = end_of(whole)
    steps = [
        number
        for number, (what, where) in enumerate(done, 1)
        if "/journal/derived/" in where or "/results/" in where
    ]
    torn = [number for number in steps if done[number - 1][0] == "write"]
    for step in (*steps[1 :: len(steps) // 3], *torn[1 :: len(torn) // 3]):
        layout = DataLayout(tmp_path / str(step))
        assert lives_until(step, recorded, layout)
        lives_until(3, recorded, layout)  # again, if there is as much left to do

        recorded.follow(layout)

        assert end_of(layout) == undisturbed, step


def test_a_worker_that_is_behind_leaves_out_pictures_and_says_so(
    recorded, undisturbed, tmp_path, caplog
):
    layout = DataLayout(tmp_path)

    recorded.follow(layout, at_once=True)

    assert end_of(layout) == undisturbed
    state = read_state(layout.services / f"{NAME}.json") or {}
    # Of three tilts the first two; the last one of each is drawn.
    names = {f"{recorded.key}_{quantity}" for quantity in QUANTITIES}
    assert state["dropped_pictures"] == dict.fromkeys(names, TILTS - 1)
    assert f"{2 * (TILTS - 1)} live picture(s) were left out to keep up" in caplog.text


def test_rows_keep_the_order_of_the_tilts(recorded, undisturbed, tmp_path):
    raw = [decode_line(line) for line in recorded.lines]
    angles = [doc["data"]["stage_alpha_deg"] for name, doc in raw if name == "event"]
    recorded.follow(layout := DataLayout(tmp_path), at_once=True)

    for quantity in QUANTITIES:
        path = layout.derived_journal / f"{recorded.key}_{quantity}.jsonl"
        rows = [doc for name, doc in read_documents(path) if name == "event"]
        streams = {row["descriptor"] for row in rows}
        for stream in streams:
            of_stream = [row for row in rows if row["descriptor"] == stream]
            assert [row["seq_num"] for row in of_stream] == [1, 2, 3]
            assert [row["data"]["tilt_deg"] for row in of_stream] == angles


@pytest.mark.tiled
def test_loss_maps_are_in_tiled_beside_the_raw_run(
    recorded_losses, layout, start_publisher, wait_published, tiled_root
):
    recorded_losses.follow(layout)
    key = "losses_loss-maps"
    start_publisher()

    # Seven arrays: one on view of each, and one kept of each of two maps.
    assert wait_published(key, "derived", timeout_s=60)["arrays"] == 7 * 3
    arrays = tiled_root["derived", key, "arrays"]
    for name in ("li-per-si", "window-42ev", "window-60ev", "thickness"):
        kept = arrays[f"{name}_v0002"]
        assert tuple(kept.structure().dims) == ("y", "x")
        assert kept.structure().shape == (3, 3)
        assert kept.metadata["scale_nm"] == 8.0
    answer = tiled_root.context.http_client.get(
        arrays["thickness"].uri.replace("/metadata/", "/array/full/"),
        headers={"Accept": "image/png"},  # what the page shows
    )
    assert answer.content.startswith(b"\x89PNG")
