"""The publisher: the one process that writes to Tiled, fed by the journals.

It follows every journal, raw and derived, and makes Tiled hold the same. When
Tiled is away, frozen or refuses the key, it waits and tries again, for ever; a
journal that can't be published is set aside with its reason, and the others go
on. It can be killed at any moment: the next one reads from Tiled what arrived.

Run it by ``cryoline up``, or ``python -m cryoline.acquisition.publisher --config
FILE``. Its state is in ``services/publisher.json``, its log in ``log/``.
"""

import argparse
import contextlib
import fcntl
import logging
import logging.handlers
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cryoline.acquisition.errors import CryolineError, ServiceError
from cryoline.acquisition.layout import DataLayout
from cryoline.acquisition.path_map import PathMap

__all__ = ["main", "publish", "publisher_lock"]

_LOG_BYTES: Final = 5_000_000
_LOG_FILES: Final = 3


def publish(
    layout: DataLayout,
    url: str,
    key: str,
    paths: PathMap | None = None,
    custody: Path | None = None,
) -> None:
    """Publish until SIGTERM or SIGINT, then end after the current page.

    Raises ServiceError if another process publishes this data directory.
    """
    # The loop has its own retries, without end and with its state on view. Tiled
    # reads this when it is imported, which is why that happens here.
    os.environ.setdefault("TILED_RETRY_ATTEMPTS", "1")
    from cryoline.acquisition.publication_loop import Publisher

    with publisher_lock(layout):
        publisher = Publisher(layout, url, key, paths, custody)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: publisher.stop())
        publisher.run()


@contextlib.contextmanager
def publisher_lock(layout: DataLayout) -> Iterator[None]:
    """Hold the right to write to Tiled for this data directory.

    Raises ServiceError that names the process which holds it already.
    """
    path = layout.services / "publisher.lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip()
            raise ServiceError(
                f"{layout.root}: process {holder} publishes this data directory "
                "already, and only one may; end it by cryoline down"
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


def main(arguments: list[str] | None = None) -> int:
    """Run the publisher of the data directory that a configuration names."""
    from cryoline.acquisition.config import find_config, load_config
    from cryoline.acquisition.tiled_server import TiledServer

    parser = argparse.ArgumentParser(prog="cryoline.acquisition.publisher")
    parser.add_argument("--config", type=Path, help="instrument.toml")
    options = parser.parse_args(arguments)
    try:
        config = load_config(find_config(options.config))
        _log_to(config.layout.logs / "publisher.log")
        server = TiledServer.from_config(config)
        url, key = server.url(), server.api_key()
        publish(config.layout, url, key, config.path_map, config.custody_record)
    except CryolineError as error:
        sys.stderr.write(f"{error}\n")
        logging.getLogger(__name__).error("%s", error)
        return 1
    return 0


def _log_to(path: Path) -> None:
    handler = logging.handlers.RotatingFileHandler(
        path, maxBytes=_LOG_BYTES, backupCount=_LOG_FILES, encoding="utf-8"
    )
    handler.setFormatter(
        logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    # One line a request would bury everything else.
    logging.getLogger("httpx").setLevel(logging.WARNING)


if __name__ == "__main__":
    sys.exit(main())
