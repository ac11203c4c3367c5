"""Energy-loss maps, from documents and a file to Li/Si with its status.

The simulated laboratory has no energy-loss camera: its spectra are written into a
stream resource file here, as one would write them, and go through the real worker.
"""

from typing import Any

import event_model
import h5py
import numpy as np
import pytest

from cryoline.acquisition.analyses import ANALYSES
from cryoline.acquisition.analysis_worker import AnalysisWorker
from cryoline.acquisition.journal_format import encode_line
from cryoline.acquisition.journal_reader import read_documents
from cryoline.acquisition.layout import DataLayout
from cryoline.analysis.eels_figures import lithium_map
from cryoline.analysis.errors import KernelInputError, StreamError
from cryoline.analysis.figure_parts import SCALE_BAR
from cryoline.analysis.live_eels import LossMapsRouter, LossStatus
from cryoline.sim.eels_spectrum import (
    LossSpecimen,
    expected_counts,
    plasmon_ev,
    record,
)

LOSS = [analysis for analysis in ANALYSES if analysis.quantity == "loss-maps"]
AXIS_EV = np.arange(-12.0, 100.0, 0.25)
SIDE = 12
PIXEL_NM = 8.0
TRAP, VOID, LITHIUM = 0.0, -1.0, 2.0


@pytest.fixture(scope="module")
def truth():
    """(y, x): silicon of low density, LixSi of x = 2, and a hole."""
    x = np.full((SIDE, SIDE), LITHIUM)
    x[:4] = TRAP
    x[8:, 8:] = VOID
    return x


@pytest.fixture(scope="module")
def spectra(truth):
    rng = np.random.default_rng(7)
    dense = LossSpecimen(float(plasmon_ev(LITHIUM)), t_over_lambda=0.8)
    porous = LossSpecimen(float(plasmon_ev(0.0, 0.92)), t_over_lambda=0.6)
    out = np.empty((SIDE, SIDE, AXIS_EV.size))
    for kind, specimen in ((LITHIUM, dense), (TRAP, porous), (VOID, None)):
        where = truth == kind
        drift_ev = rng.normal(0.0, 0.3, where.sum())  # each zero loss elsewhere
        thin = specimen or LossSpecimen(16.0, t_over_lambda=1e-9)
        mean = expected_counts(thin, AXIS_EV, 1e5, zero_ev=drift_ev)
        out[where] = record(mean, rng)
    return out


def write(path, spectra):
    with h5py.File(path, "w", libver="latest") as file:
        entry = file.create_group("entry")
        entry.attrs.update(
            energy_offset_ev=AXIS_EV[0],
            energy_per_channel_ev=0.25,
            pixel_nm=PIXEL_NM,
            readout_sigma=2.0,
        )
        entry["data/spectra"] = spectra[None].astype("<f4")


def documents(path, **md):
    run = event_model.compose_run(metadata={"specimen": "assb-03", **md})
    yield "start", run.start_doc
    key = {
        "source": "camera",
        "dtype": "array",
        "dtype_numpy": "<f4",
        "shape": [SIDE, SIDE, AXIS_EV.size],
        "dims": ["y", "x", "energy"],
        "external": "STREAM:",
    }
    lone = {"source": "beam", "dtype": "number", "shape": []}
    stream = run.compose_descriptor(
        name="primary",
        data_keys={"camera_loss_spectra": key, "beam_charge_c": lone},
    )
    yield "descriptor", stream.descriptor_doc
    resource = run.compose_stream_resource(
        mimetype="application/x-hdf5",
        uri=f"file://localhost{path}",
        data_key="camera_loss_spectra",
        parameters={"dataset": "entry/data/spectra", "chunk_shape": [1], "swmr": True},
    )
    yield "stream_resource", resource.stream_resource_doc
    event = stream.compose_event(
        data={"beam_charge_c": 1e-9}, timestamps={"beam_charge_c": 1e9}
    )
    yield "event", event
    yield "stop", run.compose_stop()


@pytest.fixture
def derived(tmp_path, spectra):
    """Return (documents of the derived run, its arrays) as the worker leaves them."""
    layout = DataLayout(tmp_path / "data")
    path = layout.root / "raw" / "loss.h5"
    path.parent.mkdir(parents=True)
    write(path, spectra)
    lines = [encode_line(name, doc) for name, doc in documents(path)]
    (layout.raw_journal / "run.jsonl").write_bytes(b"".join(lines))
    worker = AnalysisWorker(layout, analyses=LOSS)
    try:
        while worker.look():
            pass
    finally:
        worker.close()
    found = list(read_documents(layout.derived_journal / "run_loss-maps.jsonl"))
    arrays = {}
    for name, doc in found:
        if name == "result_file" and not doc["live"]:
            with h5py.File(layout.results / doc["path"]) as file:
                arrays[doc["key"]] = file["data"][:]
    return found, arrays


def test_lithium_is_mapped_and_low_density_is_not_taken_for_it(derived, truth) -> None:
    found, arrays = derived
    status = arrays["status"]

    assert (status[truth == LITHIUM] == LossStatus.LITHIUM).mean() > 0.95
    # Silicon without lithium, less dense: a plasmon as of x = 0.3, and flagged so.
    trap = arrays["li-per-si"][truth == TRAP]
    assert np.nanmedian(trap) > 0.15
    assert (status[truth == TRAP] == LossStatus.MAY_BE_DENSITY).mean() > 0.95
    # A level of noise has no plasmon, or none that the fit could hold.
    assert (status[truth == VOID] >= LossStatus.NO_PLASMON).all()
    assert np.isnan(arrays["li-per-si"][truth == VOID]).all()
    lithium = arrays["li-per-si"][truth == LITHIUM]
    assert np.nanmedian(lithium) == pytest.approx(LITHIUM, abs=0.15)
    thick = arrays["thickness"]
    assert np.median(thick[truth == LITHIUM]) == pytest.approx(0.8, abs=0.03)
    assert np.median(thick[truth == TRAP]) == pytest.approx(0.6, abs=0.03)
    (row,) = [doc["data"] for name, doc in found if name == "event"]
    assert row["spectra"] == SIDE * SIDE
    assert row["may_be_density"] == (status == LossStatus.MAY_BE_DENSITY).sum()
    assert row["fitted"] == (status <= LossStatus.OUTSIDE_LIMITS).sum()


def test_windows_of_the_sharpened_spectra_are_mapped(derived, truth) -> None:
    found, arrays = derived

    # Of 1e5 counts, by the simulator's spectra without noise: plural scattering.
    for name, thick, thin in (("window-42ev", 1388, 848), ("window-60ev", 273, 236)):
        window = arrays[name]
        assert np.median(window[truth == LITHIUM]) == pytest.approx(thick, abs=20)
        assert np.median(window[truth == TRAP]) == pytest.approx(thin, abs=20)
        assert abs(np.nanmedian(window[truth == VOID])) < 10
    assert found[0][1]["parameters"]["windows_ev"]["window-60ev"] == [58.0, 62.0]
    live = {doc["key"] for name, doc in found if name == "result_file" and doc["live"]}
    assert live == arrays.keys() >= {"li-per-si", "thickness", "window-42ev"}


def test_documents_are_valid_and_name_what_they_were_made_with(derived) -> None:
    found, _ = derived

    for name, doc in found:
        if name != "result_file":
            kind = event_model.DocumentNames[name]
            event_model.schema_validators[kind].validate(doc)
    assert found[0][1]["quantity"] == "loss-maps"
    assert found[0][1]["parameters"]["model"] == "drude"
    assert found[0][1]["specimen"] == "assb-03"


def test_the_figure_shows_limits_flags_scale_and_colour_bar(derived) -> None:
    _, arrays = derived

    figure = lithium_map(
        arrays["li-per-si"],
        arrays["status"],
        PIXEL_NM,
        t_over_lambda=arrays["thickness"],
    )

    figure.draw_without_rendering()
    words = [t.get_text() for one in figure.axes for t in one.texts]
    assert words.count("20 nm") == 3
    assert len(figure.findobj(lambda artist: artist.get_gid() == SCALE_BAR)) == 3
    labels = [one.get_ylabel() for one in figure.axes]
    bar = figure.axes[0].findobj(lambda artist: artist.get_gid() == SCALE_BAR)[0]
    assert bar.get_window_extent().width / figure.axes[0].bbox.width == pytest.approx(
        20.0 / (SIDE * PIXEL_NM), rel=0.02
    )
    assert "Li per Si atom (hatched: may be density)" in labels
    assert "thickness / mean free path" in labels
    legend = [t.get_text() for t in figure.legends[0].get_texts()]
    assert "may be density, no Li: 33 %" in legend
    assert any(text.startswith("no plasmon: ") for text in legend)


def test_arrays_that_don_t_fit_are_refused() -> None:
    with pytest.raises(KernelInputError, match=r"give \(y, x\), all alike"):
        lithium_map(np.zeros((2, 2)), np.zeros((2, 3)), 1.0)
    with pytest.raises(KernelInputError, match="pixels of 0 nm; give a length"):
        lithium_map(np.zeros((2, 2)), np.zeros((2, 2)), 0.0)


def never(*_: Any) -> Any:
    raise AssertionError("nothing is written or opened")


def test_a_run_of_another_kind_gives_nothing() -> None:
    emitted = []
    router = LossMapsRouter(lambda *doc: emitted.append(doc), never, never)
    run = event_model.compose_run()

    router("start", run.start_doc)
    router("stop", run.compose_stop())

    assert emitted == []


def test_spectra_without_a_file_and_unknown_settings_are_refused(tmp_path) -> None:
    docs = [d for d in documents(tmp_path / "x.h5") if d[0] != "stream_resource"]
    router = LossMapsRouter(lambda *doc: None, never, never)

    for name, doc in docs[:2]:
        router(name, doc)
    with pytest.raises(StreamError, match="no stream resource names the file of cam"):
        router(*docs[2])
    (_, start), *_ = documents(tmp_path / "x.h5", eels_settings={"windows": 1})
    with pytest.raises(
        KernelInputError, match="there are model, window_ev, cut_ev, dec"
    ):
        LossMapsRouter(lambda *doc: None, never, never)("start", start)
