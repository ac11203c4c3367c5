"""How to reach a Tiled server: its key, a quick client, and a search that works.

Tiled is imported when it is first used, and never its table client, which alone
takes 10 s (it loads dask): pages are sent as Arrow bytes by ``tiled_tables``.
"""

import math
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from cryoline.acquisition.errors import TiledServerError

__all__ = [
    "API_KEY_VARIABLE",
    "CONTAINERS",
    "api_key",
    "check_access",
    "connect",
    "fit_json",
    "key_refusal",
    "make_api_key",
    "search",
]

API_KEY_VARIABLE: Final = "CRYOLINE_TILED_API_KEY"
CONTAINERS: Final = ("raw", "derived")
"""Below the root, siblings: Tiled can't write out a run that holds another."""

_CONNECT_S: Final = 2.0
_ANSWER_S: Final = 15.0
_PRIVATE: Final = 0o600
_MAX_INTEGER: Final = 2**53 - 1
_MAX_FLOAT: Final = 1.7976e308


def api_key(path: Path) -> str:
    """Return the key from the environment, else from its file.

    Raises TiledServerError if there is neither, or if others may read the file.
    """
    if from_environment := os.environ.get(API_KEY_VARIABLE):
        return from_environment
    try:
        mode = path.stat().st_mode & 0o777
        key = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        raise TiledServerError(
            f"{path}: no API key of Tiled; start the server once (cryoline serve), "
            f"or set {API_KEY_VARIABLE}"
        ) from None
    if mode & 0o077:
        raise TiledServerError(
            f"{path}: others may read this API key (mode {mode:o}); "
            f"chmod 600 it, or remove it for a new one"
        )
    return key


def make_api_key(path: Path) -> str:
    """Return the key; write a new random one, mode 0600, if there is none yet."""
    if API_KEY_VARIABLE not in os.environ and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE)
        with os.fdopen(fd, "w", encoding="ascii") as key_file:
            key_file.write(secrets.token_hex(32))
    return api_key(path)


def connect(url: str, key: str, *, timeout_s: float = 15.0) -> Any:
    """Return the root container of a Tiled server, for writing runs.

    A light client, without the special clients of bluesky.
    Whoever wants to read runs uses ``tiled.client.from_uri(url, api_key=key)``.
    Raises httpx errors if the server does not answer within ``timeout_s`` or
    refuses the key; close it by ``.context.close()``.
    """
    import httpx
    from tiled.client.constructors import from_uri
    from tiled.client.container import Container

    from cryoline.acquisition.tiled_arrays import RegisteredArray
    from cryoline.acquisition.tiled_tables import AppendableTable

    return from_uri(
        url,
        structure_clients={
            "array": RegisteredArray,
            "container": Container,
            "table": AppendableTable,
        },
        api_key=key,
        timeout=httpx.Timeout(timeout_s, connect=_CONNECT_S),
        include_data_sources=False,
        trust_env=False,  # a loopback server is not behind a proxy
    )


def fit_json(value: Any) -> Any:
    """Return metadata whose numbers survive JSON: integers of 53 bits, no infinity.

    The same limits as bluesky-tiled-plugins', so that its clients agree. NaN becomes
    null on the way.
    """
    if isinstance(value, Mapping):
        return {key: fit_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [fit_json(item) for item in value]
    if isinstance(value, int) and abs(value) > _MAX_INTEGER:
        return _MAX_INTEGER if value > 0 else -_MAX_INTEGER
    if isinstance(value, float) and math.isinf(value):
        return math.copysign(_MAX_FLOAT, value)
    return value


def check_access(url: str, key: str) -> None:
    """See that the server answers and takes the key, before anybody waits for it.

    Raises TiledServerError that says which of the two is wrong.
    """
    import httpx

    try:
        answer = httpx.get(
            f"{url}/api/v1/search/",
            headers={"Authorization": f"Apikey {key}"},
            timeout=_ANSWER_S,
            trust_env=False,
        )
    except httpx.HTTPError as error:
        raise TiledServerError(
            f"{url}: Tiled does not answer ({error}); is it up? cryoline status, "
            "cryoline up"
        ) from error
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        raise TiledServerError(key_refusal(url, answer.status_code))


def key_refusal(url: str, status: int) -> str:
    """Return what is said when a server answers 401 or 403."""
    return (
        f"{url}: Tiled refuses the API key ({status}); is it the key of this server "
        f"(api_key_file in instrument.toml, {API_KEY_VARIABLE})?"
    )


def search(container: Any, query: Any) -> Any:
    """Search any container by any metadata key, runs' own ``cryoline`` block too.

    ``catalog.search(Key("cryoline.technique") == ...)`` on a catalog of bluesky
    runs finds nothing and says nothing: bluesky-tiled-plugins puts ``start.``
    before every key. This asks Tiled itself. Calls can be chained.
    """
    from tiled.client.container import Container

    return Container.search(container, query)
