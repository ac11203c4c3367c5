"""A stream's metadata in Tiled, as bluesky-tiled-plugins makes it of descriptors."""

import copy
from collections.abc import Mapping
from typing import Any, Final

from cryoline.acquisition.tiled_access import fit_json

__all__ = ["configuration_update", "stream_metadata"]

_NOT_IN_METADATA: Final = ("name", "object_keys", "run_start")

# bluesky_tiled_plugins.writing.tiled_writer.JSON_TO_NUMPY_DTYPE: its clients make
# their arrays from this. (Importing it would take seconds.)
_NUMPY_TYPES: Final = {
    "number": "<f8",
    "array": "<f8",
    "boolean": "|b1",
    "string": "<U0",
    "integer": "<i8",
}


def stream_metadata(descriptor: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata of a stream's node: its first descriptor, completed.

    Every data key gets ``dtype_numpy``, and the name of its device.
    """
    doc = copy.deepcopy(dict(descriptor))
    for data_key in doc["data_keys"].values():
        _complete(data_key)
    for device, keys in doc.get("object_keys", {}).items():
        for key in keys:
            doc["data_keys"][key]["object_name"] = device
    _complete_configuration(doc)
    kept = {name: doc[name] for name in doc if name not in _NOT_IN_METADATA}
    return dict(fit_json(kept))


def configuration_update(descriptor: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of a later descriptor: the configuration that changed."""
    doc = copy.deepcopy(dict(descriptor))
    _complete_configuration(doc)
    update = {"uid": doc["uid"], "time": doc["time"]}
    if configuration := doc.get("configuration"):
        update["configuration"] = configuration
    return dict(fit_json(update))


def _complete_configuration(doc: dict[str, Any]) -> None:
    for device in doc.get("configuration", {}).values():
        for data_key in device["data_keys"].values():
            _complete(data_key)


def _complete(data_key: dict[str, Any]) -> None:
    if "dtype_numpy" not in data_key and data_key["dtype"] in _NUMPY_TYPES:
        data_key["dtype_numpy"] = _NUMPY_TYPES[data_key["dtype"]]
    if "shape" in data_key and data_key["shape"] is None:
        data_key["shape"] = []
