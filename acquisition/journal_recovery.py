"""Closes the journals of runs whose session was killed."""

import errno
import fcntl
import logging
import os
import uuid
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from cryoline.acquisition.errors import JournalError, JournalLineError
from cryoline.acquisition.journal import sync_directory
from cryoline.acquisition.journal_format import decode_line, encode_line

__all__ = ["close_interrupted", "is_closed"]

_BLOCK_BYTES: Final = 65536

_log = logging.getLogger(__name__)


def close_interrupted(directory: Path) -> list[Path]:
    """Give every killed run a stop document; return the files that got one.

    A run whose session lives (it holds the file's lock) is left alone. A torn
    last line, a document that nobody was promised, is cut off; its bytes are
    kept in ``<key>.torn``. The stop document says ``exit_status: abort``, the
    only word of event-model that fits, and ``reason: interrupted: ...``. A
    journal with an unreadable line is left as it is and logged: the publisher
    names file and line.
    """
    _remove_unborn(directory)
    closed = []
    for path in sorted(directory.glob("*.jsonl")):
        if is_closed(path):
            continue
        fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # It may have been closed while we were looking.
            if not is_closed(path) and _close(path, fd):
                closed.append(path)
        except BlockingIOError:
            _log.info("%s: still being written by a living session", path)
        except JournalLineError as error:
            _log.error("can't close an interrupted run: %s", error)
        finally:
            os.close(fd)
    return closed


def is_closed(path: Path) -> bool:
    """Return whether the last line of a journal is a complete stop document."""
    with path.open("rb") as journal:
        size = journal.seek(0, os.SEEK_END)
        journal.seek(max(0, size - _BLOCK_BYTES))
        tail = journal.read()
    if not tail.endswith(b"\n"):
        return False
    last = tail[:-1].rpartition(b"\n")[2]
    # A stop document never fills the block, a page of points may.
    return last.startswith(b'{"name":"stop"')


def _close(path: Path, fd: int) -> bool:
    content = path.read_bytes()
    end = content.rfind(b"\n") + 1
    if end == 0:
        _log.error("%s: no start document; nothing to close", path)
        return False
    stop = _stop_document(path, content[:end])
    try:
        if torn := content[end:]:
            _keep(path.with_suffix(".torn"), torn)
            os.ftruncate(fd, end)
        if stop is None:
            return False
        line = encode_line("stop", stop)
        if os.write(fd, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(fd)
    except OSError as error:
        raise JournalError(
            f"{path}: can't close this interrupted run: {error.strerror}; "
            "free space or mend the rights of the directory, then start again"
        ) from error
    return True


def _stop_document(path: Path, content: bytes) -> dict[str, Any] | None:
    """Return the document that is missing, None if there is a stop already."""
    run = ""
    streams: dict[str, str] = {}
    seq_nums: dict[str, set[int]] = defaultdict(set)
    last_time_s = 0.0
    for number, line in enumerate(content.splitlines(), 1):
        try:
            name, doc = decode_line(line)
            times = doc.get("time", last_time_s)
            last_time_s = max(times) if isinstance(times, list) else times
            if name == "start":
                run = doc["uid"]
            elif name == "descriptor":
                streams[doc["uid"]] = doc["name"]
            elif name == "event":
                seq_nums[streams[doc["descriptor"]]].add(doc["seq_num"])
            elif name == "stop":
                return None
            elif name == "event_page":
                seq_nums[streams[doc["descriptor"]]].update(doc["seq_num"])
        except (ValueError, KeyError, TypeError) as error:
            raise JournalLineError(f"{path}, line {number}: {error!r}") from error
    now = datetime.now(tz=UTC).isoformat(timespec="seconds")
    return {
        "uid": str(uuid.uuid4()),
        "run_start": run,
        # When it ended nobody knows; this is the last that was heard of it.
        "time": last_time_s,
        "exit_status": "abort",
        "reason": f"interrupted: the session ended within the run; closed {now}",
        # A repeated seq_num is a re-take of the same event, as in a RunEngine.
        "num_events": {stream: len(seq_nums[stream]) for stream in streams.values()},
    }


def _remove_unborn(directory: Path) -> None:
    """Remove files of sessions killed before a run's first line was on disk."""
    for path in directory.glob(".*.jsonl.*"):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        except BlockingIOError:
            _log.info("%s: a living session is just opening a run", path)
        finally:
            os.close(fd)


def _keep(path: Path, torn: bytes) -> None:
    with path.open("ab") as kept:
        kept.write(torn)
        kept.flush()
        os.fsync(kept.fileno())
    sync_directory(path.parent)
