"""Tiled in the shell: connected when it is first looked at, not before."""

from collections.abc import Iterator
from typing import Any

from cryoline.acquisition.config import Config
from cryoline.acquisition.tiled_server import TiledServer

__all__ = ["LazyCatalog"]


class LazyCatalog:
    """The root of the configured Tiled server, as tiled's own client gives it.

    Importing that client and connecting takes seconds, so neither happens before
    the first key, attribute or listing is asked for.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._client: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connected(), name)

    def __getitem__(self, key: Any) -> Any:
        return self._connected()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._connected())

    def __len__(self) -> int:
        return len(self._connected())

    def __repr__(self) -> str:
        if self._client is None:
            return f"<Tiled of {self._config.layout.root}, not looked at yet>"
        return repr(self._client)

    def _connected(self) -> Any:
        if self._client is None:
            from tiled.client import from_uri

            server = TiledServer.from_config(self._config)
            self._client = from_uri(server.url(), api_key=server.api_key())
        return self._client
