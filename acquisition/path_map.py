"""The names that three computers know one data file by.

A detector's computer writes a file, this host looks into it, and the Tiled server
reads it for others. Each may see the folder under another name. Tiled would take
the address of any file, and then answer every reader with an error: so what it may
not read is refused here, before the run.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Final, Self
from urllib.parse import quote, unquote, urlsplit

from cryoline.acquisition.errors import ConfigError
from cryoline.acquisition.layout import DataLayout

__all__ = ["Folder", "PathMap"]

_WINDOWS: Final = re.compile(r"^[A-Za-z]:|\\")


@dataclass(frozen=True)
class Folder:
    """A folder of data files and what the others call it; None: the same."""

    session: Path
    """On this host."""
    instrument: str | None = None
    """On the computer that writes the files; may be a Windows path."""
    server: Path | None = None
    """On the computer of the Tiled server."""

    @property
    def on_instrument(self) -> PurePath:
        """The instrument's name of it, in the instrument's own manner."""
        name = self.instrument or str(self.session)
        return PureWindowsPath(name) if _WINDOWS.search(name) else PurePosixPath(name)

    @property
    def on_server(self) -> Path:
        """The server's name of it."""
        return self.server or self.session


@dataclass(frozen=True)
class PathMap:
    r"""The folders that data files may lie in.

    Each method raises ConfigError that lists them for a path in none of them.

    >>> paths = PathMap((Folder(Path("/mnt/eds"), "D:\\data", Path("/srv/eds")),))
    >>> paths.to_instrument(Path("/mnt/eds/2026/map.h5"))
    'D:\\data\\2026\\map.h5'
    >>> paths.to_session("d:/data/2026/map.h5")
    PosixPath('/mnt/eds/2026/map.h5')
    >>> paths.server_uri(Path("/mnt/eds/2026/map.h5"))
    'file://localhost/srv/eds/2026/map.h5'
    """

    folders: tuple[Folder, ...]

    @classmethod
    def of(cls, layout: DataLayout, others: Iterable[Folder] = ()) -> Self:
        """Return the data directory's own folders, and those of a configuration."""
        own = (Folder(layout.raw_data.resolve()), Folder(layout.results.resolve()))
        return cls((*others, *own))

    @property
    def readable(self) -> tuple[Path, ...]:
        """What the Tiled server must be allowed to read, by its own names."""
        return tuple(dict.fromkeys(folder.on_server for folder in self.folders))

    def to_instrument(self, path: Path) -> str:
        """Return what the instrument calls a file or folder of this host."""
        folder, rest = self._find(path)
        return str(folder.on_instrument.joinpath(*rest.parts))

    def to_session(self, name: str) -> Path:
        """Return where a file lies on this host that the instrument has written."""
        for folder in self.folders:
            root = folder.on_instrument
            path = type(root)(name)
            if path.is_relative_to(root) and ".." not in path.parts:
                return folder.session.joinpath(*path.relative_to(root).parts)
        known = [str(folder.on_instrument) for folder in self.folders]
        raise _outside(name, known, "the instrument writes")

    def server_uri(self, path: Path) -> str:
        """Return the address by which Tiled reads a file of this host."""
        folder, rest = self._find(path)
        return f"file://localhost{quote(str(folder.on_server / rest))}"

    def local_path(self, uri: str) -> Path:
        """Return the file of this host that the uri of a stream resource names."""
        parts = urlsplit(uri)
        if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
            raise ConfigError(
                f"{uri}: not a file of this host; a detector names its file as "
                "file://localhost/PATH, PATH as this host knows it"
            )
        path = Path(unquote(parts.path))
        self._find(path)
        return path

    def _find(self, path: Path) -> tuple[Folder, Path]:
        """Return the innermost folder that holds a path, and the path within it."""
        found = path.resolve()
        inside = [
            (folder, found.relative_to(root))
            for folder in self.folders
            if found.is_relative_to(root := folder.session.resolve())
        ]
        if not inside:
            known = [str(folder.session) for folder in self.folders]
            raise _outside(str(path), known, "Tiled may read")
        return min(inside, key=lambda pair: len(pair[1].parts))


def _outside(path: str, known: list[str], what: str) -> ConfigError:
    return ConfigError(
        f"{path} lies in no folder that {what} ({', '.join(known)}); write there, or "
        "add the folder to instrument.toml as [paths.NAME]"
    )
