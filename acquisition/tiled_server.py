"""The embedded Tiled server: a process of its own, on loopback, with a key."""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

from cryoline.acquisition.config import Config
from cryoline.acquisition.errors import TiledServerError
from cryoline.acquisition.layout import DataLayout
from cryoline.acquisition.path_map import PathMap
from cryoline.acquisition.ports import any_free, is_free, owner_of
from cryoline.acquisition.process_identity import (
    ProcessIdentity,
    read_state,
    write_state,
)
from cryoline.acquisition.tiled_access import API_KEY_VARIABLE, make_api_key

__all__ = ["TiledServer", "is_healthy"]

_START_S: Final = 180.0
"""Patience at the start: 13-56 s were seen, the longest at the very first [A]."""
_END_S: Final = 10.0
_PROBE_S: Final = 0.2

# The key reaches the server by its environment, expanded by Tiled itself, and so
# stands in no configuration file, no command line and no log. (Tiled prints a link
# with a key at its start; with a key from here the printed one is a random other.)
_CONFIGURATION: Final = """\
# Written at every start of the embedded server; changes are lost.
catalog:
  uri: "{catalog}"
  writable_storage:
    - "file://localhost{tiled}/files"
    - "sqlite:///{tiled}/tables.db"
  readable_storage: {readable}
  init_if_not_exists: false  # tiled_process does it
authentication:
  single_user_api_key: "${{{variable}}}"
  allow_anonymous_access: false
streaming_cache:
  uri: "memory"
media_types:
  BlueskyRun:
    application/json-seq: "bluesky_tiled_plugins.exporters:json_seq_exporter"
file_extensions:
  jsons: application/json-seq
uvicorn:
  host: "{host}"
  port: {port}
  access_log: false  # a line a request, for ever
"""


@dataclass(frozen=True)
class TiledServer:
    """Starts, finds and ends the Tiled server of one data directory.

    The first start picks a free port and keeps it, so that a restarted server is
    found again by publishers and by pages open in a browser.
    """

    layout: DataLayout
    host: str = "127.0.0.1"
    port: int = 0
    """0: the port of the last start if it is free, else any free one."""
    api_key_file: Path = Path("tiled/api_key")
    """Relative to the data directory."""
    readable: tuple[Path, ...] = ()
    """Folders of data files beside those of the data directory."""

    @classmethod
    def from_config(cls, config: Config) -> Self:
        """Return the server that a configuration describes."""
        tiled = config.tiled
        return cls(
            config.layout,
            tiled.host,
            tiled.port,
            tiled.api_key_file,
            config.path_map.readable,
        )

    @property
    def state_path(self) -> Path:
        """The file that names pid, port and URL of the server."""
        return self.layout.services / "tiled.json"

    def api_key(self) -> str:
        """Return the key; the environment's wins, a missing file is made."""
        return make_api_key(self.layout.root / self.api_key_file)

    def url(self) -> str:
        """Return the address without the key.

        Raises TiledServerError if no server was ever started here.
        """
        state = read_state(self.state_path)
        if state is None:
            raise TiledServerError(
                f"{self.layout.root}: no Tiled server was started for this data "
                "directory; start it: cryoline up, or cryoline serve"
            )
        return str(state["url"])

    def identity(self) -> ProcessIdentity | None:
        """Return the running server's process, None if none runs."""
        identity = ProcessIdentity.from_state(read_state(self.state_path))
        return identity if identity and identity.is_alive() else None

    def start(self, *, timeout_s: float = _START_S) -> str:
        """Start the server unless it runs already; return its URL when it answers.

        Raises TiledServerError if the port is taken or the server does not come up;
        nothing is left running then.
        """
        if self.identity():
            url = self.url()
            self._await(url, None, timeout_s)
            return url
        process, url = self._spawn()
        try:
            self._await(url, process, timeout_s)
        except BaseException:
            process.kill()
            process.wait()
            raise
        # It outlives this process; Popen must not warn about that.
        process.returncode = 0
        return url

    def serve(self) -> int:
        """Run the server in the foreground (``cryoline serve``); return its exit code.

        Ctrl-C reaches the server too, as both stand in the same terminal.
        """
        process, url = self._spawn(detached=False)
        try:
            self._await(url, process, _START_S)
            return process.wait()
        except KeyboardInterrupt:
            return process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()

    def stop(self) -> bool:
        """End the server; return whether one was running."""
        identity = self.identity()
        if identity is None:
            return False
        identity.end(_END_S)
        return True

    def _spawn(self, *, detached: bool = True) -> tuple[subprocess.Popen[bytes], str]:
        port = self._choose_port()
        url = f"http://{self.host}:{port}"
        catalog = f"sqlite:///{self.layout.tiled.resolve()}/catalog.db"
        configuration = self.layout.tiled / "server.yml"
        (self.layout.tiled / "files").mkdir(exist_ok=True)
        configuration.write_text(
            _CONFIGURATION.format(
                catalog=catalog,
                tiled=self.layout.tiled.resolve(),
                readable=json.dumps([str(folder) for folder in self._readable()]),
                variable=API_KEY_VARIABLE,
                host=self.host,
                port=port,
            ),
            encoding="utf-8",
        )
        for database in ("catalog.db", "tables.db"):
            _let_readers_in(self.layout.tiled / database)
        module = "cryoline.acquisition.tiled_process"
        command = [sys.executable, "-m", module, catalog, str(configuration)]
        with (self.layout.logs / "tiled.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=detached,
                env={**os.environ, API_KEY_VARIABLE: self.api_key()},
            )
        state = {
            **ProcessIdentity.of(process.pid).as_dict(),
            "port": port,
            "url": url,
            "started": datetime.now(tz=UTC).isoformat(timespec="seconds"),
        }
        write_state(self.state_path, state)
        return process, url

    def _readable(self) -> tuple[Path, ...]:
        """Return the folders whose files the server may read, each once."""
        own = PathMap.of(self.layout).readable
        return tuple(dict.fromkeys((*own, *self.readable)))

    def _choose_port(self) -> int:
        if self.port:
            self._check_free(self.port)
            return self.port
        state = read_state(self.state_path)
        if state and is_free(self.host, int(state["port"])):
            return int(state["port"])
        return any_free(self.host)

    def _check_free(self, port: int) -> None:
        if is_free(self.host, port):
            return
        raise TiledServerError(
            f"tiled: port {port} of {self.host} is in use by {owner_of(port)}; "
            "end that process, or set another tiled.port in instrument.toml "
            "(0 picks a free one)"
        )

    def _await(
        self, url: str, process: subprocess.Popen[bytes] | None, timeout_s: float
    ) -> None:
        deadline = time.monotonic() + timeout_s
        tick = threading.Event()
        log = self.layout.logs / "tiled.log"
        while not is_healthy(url, timeout_s=2.0):
            if process is not None and process.poll() is not None:
                raise TiledServerError(
                    f"tiled: the server ended at its start (exit code "
                    f"{process.returncode}); the end of {log}:\n{_last_lines(log)}"
                )
            if time.monotonic() > deadline:
                raise TiledServerError(
                    f"tiled: {url} does not answer after {timeout_s:.0f} s; "
                    f"see {log}, or end a frozen server by cryoline down"
                )
            tick.wait(_PROBE_S)


def is_healthy(url: str, *, timeout_s: float) -> bool:
    """Return whether a Tiled server answers there."""
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=timeout_s) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _let_readers_in(database: Path) -> None:
    """Put a SQLite file into WAL mode, which it keeps.

    Else every read during an append is answered by 500, "database is locked".
    """
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def _last_lines(log: Path, count: int = 15) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-count:])
