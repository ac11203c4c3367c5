"""A result file is whole, one chunk, and the same bytes for the same array."""

import errno
import hashlib
import os
from typing import Any

import h5py
import numpy as np
import pytest

from cryoline.acquisition.errors import JournalError
from cryoline.acquisition.result_files import ResultFiles

VOLUME = np.arange(24, dtype="<f4").reshape(2, 3, 4)
WHAT: dict[str, Any] = {
    "version": 5,
    "time": 1.5e9,
    "dims": ("z", "x", "y"),
    "units": "atoms/nm3",
    "scale_nm": (2.0, 2.0, 4.0),
}


@pytest.fixture
def files(layout):
    return ResultFiles(layout, "run-1")


def test_a_kept_array_has_a_file_of_its_own_that_says_what_it_is(files, layout):
    doc = files.write("Si", VOLUME, **WHAT, attributes={"element": "Si"})

    path = layout.results / doc["path"]
    assert doc["path"] == "run-1/Si_v0005.h5"
    assert doc["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert {k: doc[k] for k in ("shape", "dtype", "dims", "scale_nm", "live")} == {
        "shape": [2, 3, 4],
        "dtype": "<f4",
        "dims": ["z", "x", "y"],
        "scale_nm": [2.0, 2.0, 4.0],
        "live": False,
    }
    assert doc["attributes"] == {"element": "Si"}
    with h5py.File(path) as file:
        stored = file[doc["dataset"]]
        assert np.array_equal(stored, VOLUME)
        assert stored.chunks == VOLUME.shape
        assert [dim.label for dim in stored.dims] == ["z", "x", "y"]
        assert stored.attrs["units"] == "atoms/nm3"


def test_the_same_array_gives_the_same_document_and_is_not_written_twice(files, layout):
    first = files.write("Si", VOLUME, **WHAT)
    before = (layout.results / first["path"]).stat()
    again = ResultFiles(layout, "run-1").write("Si", VOLUME[:, :, :], **WHAT)

    assert again == first
    assert (layout.results / first["path"]).stat().st_mtime_ns == before.st_mtime_ns


def test_a_live_array_replaces_its_file_whole(files, layout):
    first = files.write("Si", VOLUME, **WHAT, live=True)
    path = layout.results / first["path"]
    with h5py.File(path) as held:
        second = files.write("Si", VOLUME + 1, **WHAT | {"version": 6}, live=True)
        # Who has the old file open goes on reading the old array.
        assert np.array_equal(held["data"], VOLUME)
    assert second["path"] == first["path"] == "run-1/Si.h5"
    with h5py.File(path) as file:
        assert np.array_equal(file["data"], VOLUME + 1)
    assert [p.name for p in path.parent.iterdir()] == ["Si.h5"]


def test_a_live_array_keeps_its_shape_and_type(files):
    files.write("Si", VOLUME, **WHAT, live=True)
    with pytest.raises(ValueError, match=r"<f4 \(1, 3, 4\) after <f4 \(2, 3, 4\)"):
        files.write("Si", VOLUME[:1], **WHAT, live=True)
    with pytest.raises(ValueError, match="<f8"):
        files.write("Si", VOLUME.astype("<f8"), **WHAT, live=True)


@pytest.mark.parametrize(
    ("key", "array", "why"),
    [
        ("../Si", VOLUME, "a key is of letters"),
        ("Si_v0001", VOLUME, "a key is of letters"),
        ("Si", VOLUME[0], "2 axes, and these names: z, x, y"),
        ("Si", VOLUME[:0], "can't be shown"),
        ("Si", np.full((1, 1, 1), "a"), "can't be shown"),
    ],
)
def test_what_can_not_be_shown_is_refused(files, key, array, why):
    with pytest.raises(ValueError, match=why):
        files.write(key, array, **WHAT)


def test_a_full_disk_is_said_and_leaves_the_old_array(files, layout, monkeypatch):
    doc = files.write("Si", VOLUME, **WHAT, live=True)

    def full(fd):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(JournalError, match=r"Si.h5: can't write.*No space left"):
            files.write("Si", VOLUME + 1, **WHAT, live=True)
    content = (layout.results / doc["path"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == doc["sha256"]


def test_a_file_that_was_damaged_is_written_again(files, layout):
    doc = files.write("Si", VOLUME, **WHAT)
    path = layout.results / doc["path"]
    path.write_bytes(path.read_bytes()[:-10])
    assert files.write("Si", VOLUME, **WHAT) == doc
    assert hashlib.sha256(path.read_bytes()).hexdigest() == doc["sha256"]
