"""A detector's model for what is in the holder, made in a thread of its own."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from cryoline.sim.phantom_store import SpecimenKey, load_or_make
from cryoline.sim.specimen_voxels import SpecimenVoxels, list_voxels
from cryoline.sim.tilt_render import undrifted_view
from cryoline.sim.view import View

__all__ = ["Model", "SpecimenModel"]

Record = TypeVar("Record")
RecordOut = TypeVar("RecordOut", covariant=True)


class Model(Protocol[RecordOut]):
    """What turns a view into what the detector records."""

    def render(self, view: View) -> RecordOut:
        """Return what it records of an exposure."""


class SpecimenModel(Generic[Record]):
    """The model, kept as long as the specimen stays the same.

    make: returns a model that looks at a specimen after a number of cycles
    """

    def __init__(self, make: Callable[[SpecimenVoxels, int], Model[Record]]) -> None:
        self._make = make
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="specimen")
        self._key: SpecimenKey | None = None
        self._model: Model[Record] | None = None

    async def get(self, specimen: dict[str, Any]) -> Model[Record]:
        """Return the model for the specimen that the world names."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._get, specimen)

    def _get(self, specimen: dict[str, Any]) -> Model[Record]:
        key = SpecimenKey(specimen["kind"], specimen["seed"], specimen["n_cycles"])
        if self._model is not None and key == self._key:
            return self._model
        directory = specimen["directory"]
        phantom = load_or_make(Path(directory), key) if directory else key.make()
        model = self._make(list_voxels(phantom, seed=key.seed), key.n_cycles)
        # Compile, or load from the cache, what each exposure will run.
        model.render(undrifted_view(0.0, width_px=8, height_px=8))
        self._model, self._key = model, key
        return model
