"""One HDF5 file of one stream of events, and the documents that name its frames."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from event_model import StreamRange, compose_stream_resource
from event_model.documents import StreamDatum, StreamResource

__all__ = ["StreamAsset", "StreamFile"]

StreamAsset = tuple[str, StreamResource] | tuple[str, StreamDatum]


class StreamFile:
    """The frames of one data key: frame k belongs to event k + 1, without a gap.

    A reader takes frame k for the k-th event. So the next index is the number of
    frames that have been told of, never the number of exposures that were made.

    name: what the instrument calls the file, without its ending
    shape: of one frame, without the leading 1
    """

    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        self.name = name
        self.shape = shape
        self.index = 0
        """Of the next frame to be told of."""
        self._bundle: Any = None
        self._is_fresh = False

    def recorded(self) -> None:
        """Take note that the frame of the present index is on disk."""
        self._is_fresh = True

    def documents(
        self, path: Path, data_key: str, dataset: str
    ) -> Iterator[StreamAsset]:
        """Yield the resource, once, and the datum of a frame recorded since.

        path: of the file as this host knows it
        """
        if not self._is_fresh:
            return
        if self._bundle is None:
            self._bundle = compose_stream_resource(
                mimetype="application/x-hdf5",
                uri=f"file://localhost{quote(str(path))}",
                data_key=data_key,
                parameters={
                    "dataset": dataset,
                    "chunk_shape": (1, *self.shape),
                    "swmr": True,
                },
            )
            yield "stream_resource", self._bundle.stream_resource_doc
        yield (
            "stream_datum",
            self._bundle.compose_stream_datum(
                StreamRange(start=self.index, stop=self.index + 1)
            ),
        )
        self._is_fresh = False
        self.index += 1
