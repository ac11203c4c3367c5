"""Lithium per silicon, where it can be trusted, and thickness: derived run `loss-maps`.

Energy-loss spectra lie in the detector's file, a map of them each event.
"""

from collections.abc import Callable, Mapping
from contextlib import closing
from enum import IntEnum
from typing import Any, Final

import numpy as np
from event_model import DocumentRouter
from numpy.typing import NDArray

from cryoline.analysis.derived_run import INTEGER, Column, DerivedRun, Emit
from cryoline.analysis.eels import FitStatus, fit_plasmon, li_per_si, thickness
from cryoline.analysis.eels_maps import (
    LITHIUM_K_EV,
    SECOND_PLASMON_EV,
    sharp_windows,
)
from cryoline.analysis.errors import KernelInputError, StreamError

__all__ = ["LOSS_VERSION", "LossMapsRouter", "LossStatus", "warm_up"]

LOSS_VERSION: Final = "2"
"""Raised by one whenever the same raw run would give other maps or rows."""

_SUFFIX: Final = "_loss_spectra"
_PARAMETERS: Final[Mapping[str, Any]] = {
    "model": "drude",
    "window_ev": [9.0, 24.0],
    "cut_ev": 2.0,
    "deconvolution_steps": 15,
}
_WINDOWS_EV: Final = {"window-42ev": SECOND_PLASMON_EV, "window-60ev": LITHIUM_K_EV}
_EV: Final = Column("number", "<f8", "eV", 3)
_RATIO: Final = Column("number", "<f8", "", 3)
_STREAMS: Final[Mapping[str, Mapping[str, Column]]] = {
    "maps": {
        "spectra": INTEGER,
        "fitted": INTEGER,
        "outside_limits": INTEGER,
        "may_be_density": INTEGER,
        "plasmon_ev": _EV,
        "plasmon_sigma_ev": _EV,
        "li_per_si": _RATIO,
        "li_per_si_sigma": _RATIO,
        "t_over_lambda": _RATIO,
        "reduced_chi2": _RATIO,
    }
}


class LossStatus(IntEnum):
    """What is known of a pixel; all but the first two leave Li/Si NaN."""

    LITHIUM = 0
    """A plasmon of LixSi."""
    MAY_BE_DENSITY = 1
    """15.80 to 16.83 eV: silicon without lithium was seen here, see `li_per_si`."""
    OUTSIDE_LIMITS = 2
    """A plasmon, but none of LixSi."""
    NO_ZERO_LOSS = 3
    NO_PLASMON = 4
    NOT_CONVERGED = 5


_OF_FIT: Final = {
    FitStatus.NO_ZERO_LOSS: LossStatus.NO_ZERO_LOSS,
    FitStatus.NO_PLASMON: LossStatus.NO_PLASMON,
    FitStatus.NOT_CONVERGED: LossStatus.NOT_CONVERGED,
}


class LossMapsRouter(DocumentRouter):  # type: ignore[misc,unused-ignore]
    """Maps of Li/Si, its error and status, plasmon, thickness and two windows.

    A run of its own: a row of the stream `maps` and seven arrays (y, x) come with each
    event of a stream with a data key that ends with ``_loss_spectra``; other runs give
    nothing. The group ``entry`` of its file has the attributes energy_offset_ev (middle
    of the first channel), energy_per_channel_ev, pixel_nm and readout_sigma (counts). A
    run may give ``eels_settings``: model, window_ev, cut_ev, deconvolution_steps.
    Arguments as of `EdsMapsRouter`.
    """

    quantity: Final = "loss-maps"

    def __init__(
        self,
        emit: Emit,
        save: Callable[..., None],
        open_file: Callable[[str], Any],
        *,
        original_key: str | None = None,
    ) -> None:
        super().__init__()
        self._emit = emit
        self._save = save
        self._open_file = open_file
        self._original_key = original_key
        self._raw_start: Mapping[str, Any] = {}
        self._settings = dict(_PARAMETERS)
        self._keys: dict[str, str] = {}
        self._resources: dict[str, tuple[str, str]] = {}
        self._run: DerivedRun | None = None

    def start(self, doc: Mapping[str, Any]) -> None:
        """Remember the run, and take the ``eels_settings`` that it asks for."""
        self._raw_start = doc
        asked = doc.get("eels_settings") or {}
        if unknown := asked.keys() - _PARAMETERS.keys():
            raise KernelInputError(
                f"eels_settings {', '.join(sorted(unknown))}: there are "
                f"{', '.join(_PARAMETERS)}"
            )
        self._settings = {**_PARAMETERS, **asked}

    def descriptor(self, doc: Mapping[str, Any]) -> None:
        """Begin when a stream with energy-loss spectra is described."""
        keys = [key for key in doc["data_keys"] if key.endswith(_SUFFIX)]
        if len(keys) > 1:
            raise StreamError(
                f"stream {doc['name']!r} holds the spectra of {len(keys)} cameras "
                f"({', '.join(keys)}); record each in a run of its own"
            )
        if not keys:
            return
        self._keys[doc["uid"]] = keys[0]
        if self._run is None:
            self._run = DerivedRun(
                self._emit,
                self.quantity,
                self._raw_start,
                self._original_key,
                version=LOSS_VERSION,
                parameters={
                    **self._settings,
                    "windows_ev": {n: list(w) for n, w in _WINDOWS_EV.items()},
                },
                streams=_STREAMS,
                source="cryoline.analysis.eels",
            )
            self._run.begin("maps", float(doc["time"]))

    def stream_resource(self, doc: Mapping[str, Any]) -> None:
        """Remember where a camera's file is, and where in it the spectra are."""
        dataset = doc["parameters"].get("dataset", "")
        self._resources[doc["data_key"]] = (doc["uri"], dataset)

    def event(self, doc: Mapping[str, Any]) -> None:
        """Make the maps of one event's spectra."""
        key = self._keys.get(doc["descriptor"])
        if key is None or self._run is None:
            return
        spectra, axis_ev, pixel_nm, readout = self._read(key, doc["seq_num"])
        fit = fit_plasmon(
            spectra,
            axis_ev,
            model=self._settings["model"],
            window_ev=tuple(self._settings["window_ev"]),
            readout_sigma=readout,
        )
        lithium = li_per_si(fit.energy_ev, fit.energy_sigma_ev)
        thick = thickness(
            spectra,
            axis_ev,
            zero_loss_ev=fit.zero_loss_ev,
            cut_ev=self._settings["cut_ev"],
            readout_sigma=readout,
        ).t_over_lambda
        windows = sharp_windows(
            spectra,
            axis_ev,
            list(_WINDOWS_EV.values()),
            zero_loss_ev=fit.zero_loss_ev,
            cut_ev=self._settings["cut_ev"],
            n_iter=self._settings["deconvolution_steps"],
            readout_sigma=readout,
        )
        status = _status(fit.status, lithium.is_within_limits, lithium.may_be_density)
        maps: dict[str, tuple[NDArray[Any], str]] = {
            "li-per-si": (lithium.ratio, ""),
            "li-per-si-sigma": (lithium.ratio_sigma, ""),
            "plasmon": (fit.energy_ev, "eV"),
            "thickness": (thick, "mean free paths"),
            **{n: (one, "counts") for n, one in zip(_WINDOWS_EV, windows, strict=True)},
        }
        what: dict[str, Any] = {
            "version": doc["seq_num"],
            "time": doc["time"],
            "dims": ("y", "x"),
            "scale_nm": pixel_nm,
        }
        for name, (array, units) in maps.items():
            self._keep(name, array.astype(np.float32), units=units, **what)
        codes = {code.name.lower(): int(code) for code in LossStatus}
        self._keep("status", status, units="", attributes=codes, **what)
        row = {
            "spectra": int(status.size),
            "fitted": int(fit.is_fitted.sum()),
            "outside_limits": int((status == LossStatus.OUTSIDE_LIMITS).sum()),
            "may_be_density": int((status == LossStatus.MAY_BE_DENSITY).sum()),
            "plasmon_ev": _middle(fit.energy_ev),
            "plasmon_sigma_ev": _middle(fit.energy_sigma_ev),
            "li_per_si": _middle(lithium.ratio),
            "li_per_si_sigma": _middle(lithium.ratio_sigma),
            "t_over_lambda": _middle(thick),
            "reduced_chi2": _middle(fit.reduced_chi2),
        }
        self._run.event("maps", row, float(doc["time"]))

    def _keep(self, name: str, array: NDArray[Any], **what: Any) -> None:
        """Put a map on view, and keep it."""
        self._save(name, array, live=True, **what)
        self._save(name, array, live=False, **what)

    def stop(self, doc: Mapping[str, Any]) -> None:
        """End as the raw run ended."""
        if self._run is not None:
            self._run.end(doc)

    def _read(
        self, key: str, number: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], float, float]:
        """Return an event's spectra (y, x, channel), energies, pixel and noise."""
        if key not in self._resources:
            raise StreamError(
                f"event {number}: no stream resource names the file of {key}"
            )
        uri, dataset = self._resources[key]
        with closing(self._open_file(uri)) as file:
            frames = file[dataset]
            if frames.ndim != 4 or len(frames) < number:
                raise StreamError(
                    f"{uri}: event {number} needs map {number} of {dataset}, which is "
                    f"{frames.shape}; (map, y, x, channel) was expected"
                )
            spectra: NDArray[np.float64] = np.asarray(frames[number - 1], float)
            at = file["entry"].attrs
            step_ev = float(at["energy_per_channel_ev"])
            first_ev = float(at["energy_offset_ev"])
            channel: NDArray[np.float64] = np.arange(spectra.shape[-1], dtype=float)
            axis_ev = first_ev + step_ev * channel
            return spectra, axis_ev, float(at["pixel_nm"]), float(at["readout_sigma"])


def warm_up() -> None:
    """Compile the kernels."""
    axis_ev = np.arange(-10.0, 40.0, 0.25)
    zero = 1e4 * np.exp(-0.5 * (axis_ev / 0.6) ** 2)
    plasmon = 200.0 / (1.0 + ((axis_ev - 16.0) / 2.0) ** 2)
    fit_plasmon([zero + plasmon], axis_ev)
    sharp_windows([zero + plasmon], axis_ev, [(16.0, 20.0)], n_iter=1)


def _status(
    fitted: NDArray[np.int8], is_within: NDArray[np.bool_], density: NDArray[np.bool_]
) -> NDArray[np.int8]:
    """Return a `LossStatus` a pixel."""
    out = np.full(fitted.shape, LossStatus.OUTSIDE_LIMITS, np.int8)
    out[is_within] = LossStatus.LITHIUM
    out[density] = LossStatus.MAY_BE_DENSITY
    for code, status in _OF_FIT.items():
        out[fitted == code] = status
    return out


def _middle(values: NDArray[np.float64]) -> float:
    """Return the median of what is known; NaN if nothing is."""
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else float("nan")
