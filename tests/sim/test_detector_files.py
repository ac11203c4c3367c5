"""What detectors write must outlive the writer, the disk and the operator."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cryoline.sim.detector_file import DetectorFile
from cryoline.sim.durable_hdf5 import create, open_to_write
from cryoline.sim.eds_events import EdsEvents, EdsModel
from cryoline.sim.errors import DetectorFileError
from cryoline.sim.event_file import EventFile
from cryoline.sim.frame_file import FrameFile
from cryoline.sim.haadf_image import HaadfImage
from cryoline.sim.phantom import make_bead
from cryoline.sim.specimen_voxels import list_voxels
from cryoline.sim.tilt_render import undrifted_view

HERE = Path(__file__).parent
SIZE = {"width_px": 48, "height_px": 32, "pixel_nm": 4.0}
VIEW = undrifted_view(0.0, **SIZE, n_frames=3)  # type: ignore[arg-type]


def image(value: float) -> HaadfImage:
    return HaadfImage(np.full((32, 48), value, np.float32), 3, 1.0)


@pytest.fixture(scope="module")
def photons() -> list[EdsEvents]:
    return records_of("eds")


def contents(path: Path) -> dict[str, Any]:
    with h5py.File(path, "r", swmr=True, locking=False) as file:
        found: dict[str, Any] = {}

        def keep(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset):
                text = h5py.check_string_dtype(item.dtype)
                found[name] = (item.asstr() if text else item)[()]

        file["entry"].visititems(keep)
        return found


# Images ----------------------------------------------------------------------------


def test_images_are_in_their_slots_and_readable_while_the_file_is_open(
    tmp_path: Path,
) -> None:
    path = tmp_path / "new" / "images.h5"
    file = FrameFile(path)
    for slot in range(3):
        file.write(slot, f"ticket-{slot}", 10.0 * slot, VIEW, image(slot + 1))
        found = contents(path)
        assert found["data/data"][:, 0, 0].tolist() == list(range(1, slot + 2))
    file.close()

    found = contents(path)
    assert found["data/data"].dtype == np.float32
    assert found["data/data"].shape == (3, 32, 48)
    assert found["ticket"].tolist() == ["ticket-0", "ticket-1", "ticket-2"]
    assert found["instrument_time_s"].tolist() == [0.0, 10.0, 20.0]
    with h5py.File(path) as content:
        assert content["entry/data/data"].chunks == (1, 32, 48)
        assert dict(content["entry"].attrs) == SIZE


def test_retake_takes_the_slot_and_the_image_before_is_kept(tmp_path: Path) -> None:
    file = FrameFile(tmp_path / "images.h5")
    file.write(0, "first", 1.0, VIEW, image(1))
    file.write(1, "second", 2.0, VIEW, image(2))
    file.write(1, "second-again", 3.0, VIEW, image(3))
    file.close()

    found = contents(tmp_path / "images.h5")
    assert found["data/data"][:, 0, 0].tolist() == [1, 3]
    assert found["ticket"].tolist() == ["first", "second-again"]
    assert found["discarded/data"][:, 0, 0].tolist() == [2]
    assert found["discarded/ticket"].tolist() == ["second"]
    assert found["discarded/slot"].tolist() == [1]
    assert found["discarded/instrument_time_s"].tolist() == [2.0]


def test_exposure_that_is_there_already_is_not_written_twice(tmp_path: Path) -> None:
    file = FrameFile(tmp_path / "images.h5")
    file.write(0, "first", 1.0, VIEW, image(1))
    file.write(0, "first", 1.0, VIEW, image(7))
    file.close()

    found = contents(tmp_path / "images.h5")
    assert found["data/data"][:, 0, 0].tolist() == [1]
    assert len(found["discarded/ticket"]) == 0


def test_other_scan_is_refused_and_the_file_stays_as_it_is(tmp_path: Path) -> None:
    file = FrameFile(tmp_path / "images.h5")
    file.write(0, "first", 1.0, VIEW, image(1))
    other = undrifted_view(0.0, width_px=24, height_px=32, pixel_nm=4.0)
    with pytest.raises(
        DetectorFileError,
        match=r"holds frames of 48x32 px at 4 nm, and this exposure is 24x32 px at "
        r"4 nm; choose another FileName",
    ):
        file.write(1, "second", 2.0, other, image(2))
    file.write(1, "third", 3.0, VIEW, image(3))
    file.close()

    assert contents(tmp_path / "images.h5")["ticket"].tolist() == ["first", "third"]


# Events ----------------------------------------------------------------------------


def test_slots_say_which_events_are_whose(
    tmp_path: Path, photons: list[EdsEvents]
) -> None:
    path = tmp_path / "events.h5"
    file = EventFile(path)
    for slot, record in enumerate(photons[:3]):
        file.write(slot, f"ticket-{slot}", 1.0 + slot, VIEW, record)
    file.write(1, "again", 9.0, VIEW, photons[3])
    places = file.places(1)
    file.close()

    found = contents(path)
    rows = {k.removeprefix("slots/"): v for k, v in found.items() if "slots/" in k}
    assert rows["ticket"].tolist() == ["ticket-0", "again", "ticket-2"]
    assert rows["n_frames"].tolist() == [3, 6, 5]
    assert rows["first_frame"].tolist() == [0, 12, 7]
    assert places == {
        key: rows[key][1]
        for key in ("first_event", "last_event", "first_frame", "n_frames")
    }
    for slot, record in ((0, photons[0]), (1, photons[3]), (2, photons[2])):
        mine = slice(rows["first_event"][slot], rows["last_event"][slot])
        np.testing.assert_array_equal(found["events/channel"][mine], record.channel)
        np.testing.assert_array_equal(found["events/y"][mine], record.y)
        np.testing.assert_array_equal(
            found["events/frame"][mine], record.frame + rows["first_frame"][slot]
        )
        np.testing.assert_array_equal(found["spectrum/data"][slot], record.spectrum)
    assert found["discarded/ticket"].tolist() == ["ticket-1"]
    assert found["discarded/first_event"].tolist() == [len(photons[0])]
    # The offsets divide all events, the discarded ones too, by frames.
    offsets = found["frame_offsets"].astype(int)
    assert len(offsets) == 3 + 4 + 5 + 6 + 1
    np.testing.assert_array_equal(
        np.diff(offsets), np.bincount(found["events/frame"], minlength=18)
    )
    assert found["live_time_s"].shape == found["dead_time_s"].shape == (18, 4)
    with h5py.File(path) as content:
        attributes = dict(content["entry"].attrs)
        types = {k: v.dtype.str for k, v in content["entry/events"].items()}
    assert attributes == SIZE | {"quadrants": 4, "energy_per_channel_ev": 10.0}
    assert types == {
        "frame": "<u4",
        "y": "<u2",
        "x": "<u2",
        "channel": "<u2",
        "quadrant": "|u1",
    }


# Faults ----------------------------------------------------------------------------

_KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_detector_files as case
import h5py
kind, directory = sys.argv[1], Path(sys.argv[2])
records = case.records_of(kind)

def life(path, wanted):
    '''Write, and die before the step that is wanted; return the steps made.'''
    file = case.KINDS[kind](path)
    for slot in (0, 1):
        file.write(slot, f"ticket-{{slot}}", 1.0, case.VIEW, records[slot])
    steps = 0
    def dying(original):
        def step(*args, **kwargs):
            nonlocal steps
            steps += 1
            if steps == wanted:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)
        return step
    h5py.Dataset.resize = dying(h5py.Dataset.resize)
    h5py.Dataset.__setitem__ = dying(h5py.Dataset.__setitem__)
    h5py.File.flush = dying(h5py.File.flush)
    file.write(1, "again", 2.0, case.VIEW, records[2])
    file.write(2, "third", 3.0, case.VIEW, records[0])
    return steps

def child(wanted):
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    steps = life(directory / f"{{wanted:03}}.h5", wanted)
    os._exit(steps)

n_steps = os.waitstatus_to_exitcode(child(0))
assert n_steps > 10, n_steps
steps = range(1, n_steps + 1, max(1, n_steps // 20))
for wanted in steps:
    assert child(wanted) == signal.SIGKILL
print("killed", len(steps))
"""
KINDS = {"haadf": FrameFile, "eds": EventFile}


def records_of(kind: str) -> list[Any]:
    """Three exposures, different from one another."""
    if kind == "haadf":
        return [image(k + 1) for k in range(3)]
    bead = EdsModel(list_voxels(make_bead(shape=(48, 48, 48))))
    views = [
        undrifted_view(0.0, **SIZE, n_frames=3 + k, dwell_s=1e-3, seed=(k,))  # type: ignore[arg-type]
        for k in range(4)
    ]
    return [bead.render(view) for view in views]


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script.format(tests=str(HERE)), *arguments],
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.mark.parametrize("kind", ["haadf", "eds"])
def test_file_of_a_writer_killed_at_any_step_can_be_opened_and_goes_on(
    tmp_path: Path, kind: str
) -> None:
    """In a re-take and a further exposure, before some 20 steps of theirs."""
    killer = run(_KILLED, kind, str(tmp_path))
    assert killer.stdout.startswith("killed"), killer.stdout + killer.stderr
    records = records_of(kind)
    paths = sorted(tmp_path.glob("*.h5"))[1:]
    assert len(paths) == int(killer.stdout.split()[1])
    for path in paths:
        found = contents(path)  # others can read it as it is
        tickets = found["ticket" if kind == "haadf" else "slots/ticket"].tolist()
        assert tickets[0] == "ticket-0"

        file: DetectorFile[Any] = KINDS[kind](path)  # type: ignore[abstract,assignment,unused-ignore]
        file.write(1, "again", 2.0, VIEW, records[2])
        file.write(2, "third", 3.0, VIEW, records[0])
        file.close()

        check_whole(contents(path), kind, records)


def check_whole(found: dict[str, Any], kind: str, records: list[Any]) -> None:
    if kind == "haadf":
        assert found["data/data"][:, 0, 0].tolist() == [1, 3, 1]
        assert found["ticket"].tolist() == ["ticket-0", "again", "third"]
        assert found["discarded/data"][0, 0, 0] == 2
        return
    assert found["slots/ticket"].tolist() == ["ticket-0", "again", "third"]
    for slot, record in ((0, records[0]), (1, records[2]), (2, records[0])):
        first, last = (found[f"slots/{k}_event"][slot] for k in ("first", "last"))
        np.testing.assert_array_equal(found["events/x"][first:last], record.x)
    assert found["frame_offsets"][-1] == len(found["events/x"])
    assert len(found["frame_offsets"]) == len(found["live_time_s"]) + 1
    assert found["discarded/ticket"][0] == "ticket-1"


_FULL_DISK = """
import os, resource, sys
from pathlib import Path
import cryoline.sim.detector_file as detector_file
from cryoline.sim.errors import DetectorFileError
sys.path.insert(0, {tests!r})
import test_detector_files as case
path, kind, is_surprise = Path(sys.argv[1]), sys.argv[2], bool(int(sys.argv[3]))
if is_surprise:
    detector_file.reserve = lambda file, size_bytes: None
file = case.KINDS[kind](path)
records = case.records_of(kind)
for slot in range(2):
    file.write(slot, f"ticket-{{slot}}", 1.0, case.VIEW, records[slot])
size = path.stat().st_size
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 2000, limits[1]))
for _ in range(2):
    try:
        file.write(2, "third", 2.0, case.VIEW, records[2])
        print("written")
    except DetectorFileError as error:
        print("refused:", error)
    print("grown", path.stat().st_size - size)
resource.setrlimit(resource.RLIMIT_FSIZE, limits)
file.write(2, "third", 2.0, case.VIEW, records[2])
file.close()
print("then written")
"""


@pytest.mark.parametrize(
    ("kind", "is_surprise"), [("haadf", False), ("haadf", True), ("eds", True)]
)
def test_full_disk_loses_nothing_and_the_exposure_is_written_later(
    tmp_path: Path, kind: str, is_surprise: bool
) -> None:
    """The kernel refuses to let the file grow; or does so in the midst of HDF5."""
    path = tmp_path / "images.h5"
    done = run(_FULL_DISK, str(path), kind, str(int(is_surprise)))

    assert done.stdout.count("refused") == 2, done.stdout + done.stderr
    assert done.stdout.endswith("then written\n"), done.stdout + done.stderr
    if not is_surprise:
        assert (
            f"refused: {path}: exposure third was not written (File too large); free "
            "some space, then write Acquire again\ngrown 0\n"
        ) in done.stdout
    found = contents(path)
    records = records_of(kind)
    if kind == "haadf":
        assert found["data/data"][:, 0, 0].tolist() == [1, 2, 3]
        assert found["ticket"].tolist() == ["ticket-0", "ticket-1", "third"]
        return
    assert found["slots/ticket"].tolist() == ["ticket-0", "ticket-1", "third"]
    assert len(found["frame_offsets"]) == 1 + sum(r.n_frames for r in records[:3])
    for name in ("frame", "y", "x", "channel", "quadrant"):
        assert len(found[f"events/{name}"]) == sum(len(r) for r in records[:3])


@pytest.mark.parametrize("cut", [10, 3000, 20])
def test_truncated_file_is_refused_and_left_as_it_is(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "images.h5"
    file = FrameFile(path)
    file.write(0, "first", 1.0, VIEW, image(1))
    file.close()
    os.truncate(path, path.stat().st_size - cut if cut > 20 else cut)
    before = path.read_bytes()

    with pytest.raises(
        DetectorFileError, match=r"can't be opened as an HDF5 file of this detector"
    ) as caught:
        FrameFile(path)

    assert "it is left as it is. Choose another FileName" in str(caught.value)
    assert path.read_bytes() == before


def test_file_of_somebody_else_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "images.h5"
    create(path, lambda file: file.create_dataset("precious", data=[1, 2, 3]))
    EventFile(tmp_path / "events.h5").close()

    for mine in (path, tmp_path / "events.h5"):
        with pytest.raises(DetectorFileError, match="is not a file of the haadf det"):
            FrameFile(mine)
    with open_to_write(path) as file:
        assert file["precious"][:].tolist() == [1, 2, 3]


def test_directory_that_can_not_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    with pytest.raises(DetectorFileError, match=r"can't be made \(.*; free some space"):
        FrameFile(tmp_path / "file" / "images.h5")
