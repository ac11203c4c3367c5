"""Arrays in files of their own, registered in Tiled: never uploaded, never copied."""

from collections.abc import Mapping
from typing import Any

from tiled.client.base import BaseClient
from tiled.client.container import Container
from tiled.client.utils import handle_error
from tiled.structures.array import ArrayStructure
from tiled.structures.core import StructureFamily
from tiled.structures.data_source import DataSource
from tiled.utils import safe_json_dump

__all__ = ["RegisteredArray", "find_or_register"]


class RegisteredArray(BaseClient):
    """A client of an array for one writer: what is registered, and what is new of it.

    Tiled's own array client would load dask, as its table client would.
    """

    _source_id: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that Tiled knew when this client was made or refreshed."""
        return tuple(self.structure().shape)

    def source(self) -> DataSource:
        """Return what Tiled knows of the file, asking it anew."""
        answer = self.new_variation(include_data_sources=True).refresh()
        found: DataSource = answer.data_sources()[0]
        return found

    def put(self, source: DataSource, *, first: int = 0) -> None:
        """Register how the array is now, and wake those who subscribed to it.

        ``first``: where, along the first axis, the new part begins.
        """
        if self._source_id is None:
            self._source_id = self.source().id
        source.id = self._source_id
        shape = list(source.structure.shape)
        offset = [first, *(0 for _ in shape[1:])]
        handle_error(
            self.context.http_client.put(
                self.uri.replace("/metadata/", "/data_source/", 1),
                content=safe_json_dump({"data_source": source}),
                params={
                    "patch_shape": ",".join(map(str, [shape[0] - first, *shape[1:]])),
                    "patch_offset": ",".join(map(str, offset)),
                },
            )
        )


def find_or_register(
    parent: Container, key: str, source: DataSource, metadata: Mapping[str, Any]
) -> RegisteredArray:
    """Return the node of an array in a file; make it, or make it anew, if need be.

    A node of another file can't be put right, because Tiled keeps the old one beside
    the new: it is deleted first. The files stay.
    """
    node: RegisteredArray | None = parent.get(key)
    if node is not None and not _is_of(node, source):
        parent.delete_contents(key, external_only=True)
        node = None
    if node is None:
        node = parent.new(
            StructureFamily.array, [source], key=key, metadata=dict(metadata)
        )
    return node


def _is_of(node: RegisteredArray, source: DataSource) -> bool:
    """Return whether a node is of the same files, read the same way."""

    def what(one: DataSource, structure: ArrayStructure) -> tuple[Any, ...]:
        uris = sorted(asset.data_uri for asset in one.assets)
        dtype = structure.data_type.to_numpy_dtype()
        return uris, one.mimetype, one.parameters, dtype, tuple(structure.dims or ())

    found = what(node.source(), node.structure())
    return found == what(source, source.structure)
