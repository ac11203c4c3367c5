"""Runs as documents, a Tiled server, and publishers that start in no time."""

import multiprocessing
import os
import threading
import time
import uuid

import event_model
import h5py
import numpy as np
import pytest
from ophyd.sim import NullStatus

from cryoline.acquisition.layout import DataLayout
from cryoline.acquisition.process_identity import read_state
from cryoline.acquisition.publication_markers import PublicationMarkers, RunName
from cryoline.acquisition.publisher import publish
from cryoline.acquisition.run_key import run_key
from cryoline.acquisition.tiled_access import connect

DATA_KEYS = {
    "pot_potential_v": {"source": "sim", "dtype": "number", "shape": [], "units": "V"},
    "pot_cycle_number": {"source": "sim", "dtype": "integer", "shape": []},
    "pot_overload": {"source": "sim", "dtype": "boolean", "shape": []},
    "pot_note": {"source": "sim", "dtype": "string", "shape": []},
}


class RunMaker:
    """Gives the documents of one run, and says what a table must hold then."""

    _scan_ids = iter(range(1, 1_000_000))

    def __init__(self, send, **metadata):
        self._send = send
        md = {
            "specimen": "Si_1",
            "ancestors": ["wafer-1"],
            "technique": "cyclic-voltammetry",
            "scan_id": next(self._scan_ids),
            **metadata,
        }
        self.run = event_model.compose_run(metadata=md)
        self.start = self.run.start_doc
        self.key = run_key(self.start)
        self.rows = 0
        self._send("start", self.start)
        self._points = self.run.compose_descriptor(
            name="points", data_keys=DATA_KEYS, configuration={}, hints={}
        )
        self._send("descriptor", self._points.descriptor_doc)

    def page(self, rows, *, first=None):
        """Send an event_page; values follow from seq_num."""
        first = self.rows + 1 if first is None else first
        numbers = list(range(first, first + rows))
        times = [1e9 + n for n in numbers]
        data = {
            "pot_potential_v": [n / 1000 for n in numbers],
            "pot_cycle_number": [1 + n // 100 for n in numbers],
            "pot_overload": [n % 2 == 0 for n in numbers],
            "pot_note": [f"row {n}" for n in numbers],
        }
        self._send(
            "event_page",
            self._points.compose_event_page(
                data=data,
                timestamps=dict.fromkeys(data, times),
                seq_num=numbers,
                time=times,
                validate=False,
            ),
        )
        self.rows = max(self.rows, first + rows - 1)

    def event(self, potential_v):
        """Send one event with the given reading."""
        self.rows += 1
        data = {
            "pot_potential_v": potential_v,
            "pot_cycle_number": 1,
            "pot_overload": False,
            "pot_note": "",
        }
        self._send(
            "event",
            self._points.compose_event(
                data=data,
                timestamps=dict.fromkeys(data, 1000000000.0 + self.rows),
                seq_num=self.rows,
                time=1e9 + self.rows,
            ),
        )

    def stop(self):
        """Send the stop document."""
        self._send("stop", self.run.compose_stop())


@pytest.fixture
def run_maker():
    return RunMaker


@pytest.fixture
def layout(tmp_path):
    return DataLayout(tmp_path / "data")


@pytest.fixture(scope="session")
def embedded_tiled(tiled_server):
    return tiled_server


@pytest.fixture
def tiled_root(embedded_tiled):
    root = connect(embedded_tiled.url(), embedded_tiled.api_key())
    yield root
    root.context.close()


@pytest.fixture(scope="session")
def fork_server():
    # Importing Tiled, and what it and Arrow import at their first use, takes seconds:
    # paid once, in a process that publishers are forked from.
    os.environ["TILED_RETRY_ATTEMPTS"] = "1"
    context = multiprocessing.get_context("forkserver")
    modules = [
        "cryoline.acquisition.publication_loop",
        "bluesky_tiled_plugins.writing.consolidators",
        *("pandas", "blosc2", "httpcore"),
    ]
    context.set_forkserver_preload(modules)
    return context


@pytest.fixture
def start_publisher(fork_server, embedded_tiled, layout):
    """Start publisher processes; all are ended after the test."""
    processes = []

    def start(url=None, key=None):
        process = fork_server.Process(
            target=publish,
            args=(
                layout,
                url or embedded_tiled.url(),
                key or embedded_tiled.api_key(),
            ),
        )
        process.start()
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.join()
        process.close()


@pytest.fixture
def wait_for():
    """Wait until a condition holds; fail with what it was about."""

    def wait(condition, what, timeout_s=30.0):
        deadline = time.monotonic() + timeout_s
        tick = threading.Event()
        while not (value := condition()):
            assert time.monotonic() < deadline, f"waited in vain: {what}"
            tick.wait(0.02)
        return value

    return wait


@pytest.fixture
def wait_published(layout, wait_for):
    markers = PublicationMarkers(layout)

    def wait(key, container="raw", timeout_s=30.0):
        run = RunName(container, key)
        return wait_for(
            lambda: markers.published(run) or markers.failure(run),
            f"{key} in {read_state(layout.services / 'publisher.json')}",
            timeout_s,
        )

    return wait


@pytest.fixture
def table_rows(tiled_root):
    """Return the seq_nums that Tiled holds of a run's points; empty if none yet."""

    def rows(key, stream="points", container="raw"):
        try:
            table = tiled_root[container, key, stream, "internal"]
        except KeyError:
            return np.array([], dtype=int)
        return table.seq_nums()

    return rows


class Camera:
    """A detector that writes frames as a scanned-beam detector does, without a beam.

    Frame n is filled with n. ``lose`` frames are told of, and not written.
    """

    parent = None

    def __init__(self, folder, *, name="cam", shape=(3, 4), lose=()):
        self.name = name
        self.path = folder / f"{name}-{uuid.uuid4().hex[:8]}.h5"
        self.told = 0
        self._shape, self._lose = shape, lose
        self._resource = None
        self._file = h5py.File(self.path, "w", libver="latest")
        self.frames = self._file.create_dataset(
            "/entry/data/data",
            shape=(0, *shape),
            maxshape=(None, *shape),
            chunks=(1, *shape),
            dtype="<u2",
        )
        self._file.swmr_mode = True

    def write(self, number):
        """Put a frame on disk."""
        self.frames.resize(number + 1, axis=0)
        self.frames[number] = number
        self.frames.flush()

    def close(self):
        self._file.close()

    def trigger(self):
        if self.told not in self._lose:
            self.write(self.told)
        return NullStatus()

    def describe(self):
        return {
            f"{self.name}_counts": {"source": "x", "dtype": "number", "shape": []},
            f"{self.name}_image": {
                "source": "x",
                "dtype": "array",
                "dtype_numpy": "<u2",
                "shape": [1, *self._shape],
                "dims": ["frame", "y", "x"],
                "external": "STREAM:",
            },
        }

    def read(self):
        return {f"{self.name}_counts": {"value": self.told, "timestamp": 1.0}}

    def describe_configuration(self):
        return {}

    def read_configuration(self):
        return {}

    def get_index(self):
        return self.told

    def collect_asset_docs(self, index=None):
        """Give the resource once, and a datum for each event."""
        if self._resource is None:
            self._resource = event_model.compose_stream_resource(
                mimetype="application/x-hdf5",
                uri=f"file://localhost{self.path}",
                data_key=f"{self.name}_image",
                parameters={
                    "dataset": "/entry/data/data",
                    "chunk_shape": (1, *self._shape),
                    "swmr": True,
                },
            )
            yield "stream_resource", self._resource.stream_resource_doc
        indices = event_model.StreamRange(start=self.told, stop=self.told + 1)
        yield "stream_datum", self._resource.compose_stream_datum(indices)
        self.told += 1


@pytest.fixture
def make_camera(layout):
    """Make cameras that write where Tiled may read; their files are closed."""
    cameras = []

    def make(folder=None, **options):
        camera = Camera(folder or layout.raw_data, **options)
        cameras.append(camera)
        return camera

    yield make
    for camera in cameras:
        camera.close()
