import io
from dataclasses import replace

import event_model
import h5py
import numpy as np
import pytest

from cryoline.analysis.eds import HE_2021
from cryoline.analysis.errors import KernelInputError, StreamError
from cryoline.analysis.live_eds import EdsMapsRouter
from cryoline.analysis.live_volume import VolumeRouter
from cryoline.analysis.volume import VolumeSettings
from cryoline.sim.phantom import make_wire
from cryoline.sim.specimen_voxels import list_voxels
from cryoline.sim.tilt_render import render_tilt_series

ANGLES_DEG = (0.0, 30.0)
FRAMES = 22
# Net counts in the windows, N = 1, at 1/25 of 1.97e6 e/nm2: first-principles yields of
# the simulated laboratory's validation table.
NET = {"Si": 11_901, "O": 4804, "F": 2888, "C": 1525}


@pytest.fixture(scope="module")
def series():
    voxels = list_voxels(make_wire(seed=3))
    fluence = 1.97e6 * len(ANGLES_DEG) / 25
    rendered = render_tilt_series(
        voxels, angles_deg=ANGLES_DEG, fluence_e_per_nm2=fluence
    )
    return [tilt.eds for tilt in rendered]


@pytest.fixture(scope="module")
def content(series):
    """The detector's file, as bytes."""
    file = io.BytesIO()
    with h5py.File(file, "w") as content:
        entry = content.create_group("entry")
        entry.attrs.update(
            width_px=512, height_px=512, pixel_nm=2.134, energy_per_channel_ev=10.0
        )
        for name in ("y", "x", "channel", "quadrant"):
            values = np.concatenate([getattr(tilt, name) for tilt in series])
            entry[f"events/{name}"] = values
        frames = [tilt.frame + FRAMES * k for k, tilt in enumerate(series)]
        entry["events/frame"] = np.concatenate(frames)
        entry["live_time_s"] = np.concatenate([tilt.live_time_s for tilt in series])
        entry["spectrum/data"] = np.stack([tilt.spectrum for tilt in series])
    return file.getvalue()


def documents(series, *, resource=True, beyond=0, charge_c=(1e-9, 1e-9), **asked):
    """The documents of a run of these tilts."""
    run = event_model.compose_run(metadata={"specimen": "nw-01", **asked})
    yield "start", run.start_doc
    number = {"source": "sim", "dtype": "number", "shape": []}
    whole = {"source": "sim", "dtype": "integer", "shape": []}
    keys = {
        "stage_alpha_deg": number,
        "eds_first_event": whole,
        "eds_last_event": whole,
        "eds_live_time_s": number,
        "eds_first_frame": whole,
        "eds_frame_count": whole,
        "beam_charge_c": number,
    }
    stream = run.compose_descriptor(name="primary", data_keys=keys)
    yield "descriptor", stream.descriptor_doc
    if resource:
        yield (
            "stream_resource",
            {
                "uid": "r",
                "data_key": "eds_spectrum",
                "uri": "file://localhost/eds.h5",
                "mimetype": "application/x-hdf5",
                "parameters": {},
                "run_start": run.start_doc["uid"],
            },
        )
    first = 0
    tilts = zip(ANGLES_DEG, series, charge_c, strict=True)
    for index, (tilt_deg, tilt, charge) in enumerate(tilts):
        last = first + len(tilt) + (beyond if index == 1 else 0)
        data = {
            "stage_alpha_deg": tilt_deg,
            "eds_first_event": first,
            "eds_last_event": last,
            "eds_live_time_s": 110.0,
            "eds_first_frame": FRAMES * index,
            "eds_frame_count": FRAMES,
            "beam_charge_c": charge,
        }
        yield (
            "event",
            stream.compose_event(data=data, timestamps=dict.fromkeys(data, 0.0)),
        )
        first = last
    yield "stop", run.compose_stop()


def derive(docs, content, router=EdsMapsRouter, **options):
    """Return what the router emits and saves."""
    emitted, saved = [], []

    def save(key, array, **what):
        saved.append((key, array() if callable(array) else array, what))

    router = router(
        lambda name, doc: emitted.append((name, doc)),
        save,
        lambda uri: h5py.File(io.BytesIO(content), "r"),
        original_key="raw",
        **options,
    )
    for name, doc in docs:
        router(name, doc)
    return emitted, saved


def rows_of(emitted, column):
    """Return the rows that have a column."""
    rows = [doc["data"] for name, doc in emitted if name == "event"]
    return [row for row in rows if column in row]


def pages_of(emitted, column):
    """Return the pages that have a column."""
    pages = [doc for name, doc in emitted if name == "event_page"]
    return [page for page in pages if column in page["data"]]


def test_each_tilt_gives_its_spectrum_and_that_of_the_series(series, content):
    emitted, _ = derive(documents(series), content)

    one, two = (page["data"] for page in pages_of(emitted, "energy_ev"))
    assert one["counts"] == series[0].spectrum.tolist()
    assert two["series_counts"] == (series[0].spectrum + series[1].spectrum).tolist()
    assert set(two["tilt_deg"]) == {30.0}
    # Silicon's line at 1.74 keV is the highest above 1 keV.
    energy_ev, counts = np.array(two["energy_ev"]), np.array(two["series_counts"])
    above = energy_ev > 1000
    assert energy_ev[above][counts[above].argmax()] == pytest.approx(1740, abs=15)


def test_each_tilt_gives_its_composition_and_how_it_came_to_rest(series, content):
    emitted, _ = derive(documents(series), content)

    rows = rows_of(emitted, "Si_weight_percent")
    # The wire's own: 51.8 % by weight of its Si, O, F and C.
    for row in rows:
        assert row["Si_weight_percent"] == pytest.approx(51.8, abs=1.6)
        assert 0.2 < row["Si_weight_percent_sigma"] < 0.6
        assert row["live_quadrants"] == pytest.approx(4.0, abs=0.1)
        assert row["live_time_s"] == pytest.approx(114.0, rel=0.01)
        assert 50 < row["Si_stable_after_s"] < 114
        # All four quadrants see the wire: their rate is that of the whole detector.
        counts = row["Si_whole_per_s"] * row["live_time_s"]
        assert counts == pytest.approx(NET["Si"], rel=0.15)
        sigma = row["Si_whole_per_s_sigma"] * row["live_time_s"]
        assert counts**0.5 < sigma < 2 * counts**0.5
    one, two = rows
    ratio = (
        two["series_Si_weight_percent_sigma"] / one["series_Si_weight_percent_sigma"]
    )
    assert ratio == pytest.approx(0.5**0.5, abs=0.03)
    pages = pages_of(emitted, "frame")
    assert [len(page["seq_num"]) for page in pages] == [FRAMES, FRAMES]
    last = pages[0]["data"]["Si_weight_percent"][-1]
    assert last == pytest.approx(one["Si_weight_percent"], rel=1e-12)
    assert emitted[0][1]["parameters"]["k_factors"]["source"].startswith("standard of")


def test_frames_that_the_file_has_not_are_named(series, content):
    docs = list(documents(series))
    docs[-2][1]["data"]["eds_frame_count"] = FRAMES + 1

    with pytest.raises(StreamError, match=r"frames 22 to 45 .* was it cut short"):
        derive(docs, content)


def test_each_tilt_gives_its_maps_and_net_counts(series, content):
    emitted, saved = derive(documents(series), content)

    rows = rows_of(emitted, "Si_net")
    assert [row["tilt_deg"] for row in rows] == list(ANGLES_DEG)
    for element, counts in NET.items():
        assert rows[0][f"{element}_net"] == pytest.approx(counts, rel=0.2), element
    kept = [array for _, array, what in saved if not what["live"]]
    for row, maps in zip(rows, kept, strict=True):
        for window, element_map in zip(HE_2021, maps, strict=True):
            gross = element_map.sum()
            net = row[f"{window.element}_net"]
            background = row[f"{window.element}_background"]
            # The lines of O and F reach into each other's windows.
            assert net + background == pytest.approx(gross, rel=0.2)
            # In the background stands the continuum, and the tails of other lines.
            continuum = net / row[f"{window.element}_peak_to_background"]
            assert 0.7 * background < continuum < (1 + 1e-9) * background
            assert (continuum < 0.95 * background) == (window.element == "O")
            # What was counted tells the least error; the side windows count, too.
            sigma = row[f"{window.element}_net_sigma"]
            assert gross**0.5 < sigma < 2 * gross**0.5
    assert [array.shape for array in kept] == [(4, 512, 512)] * 2
    silicon = kept[0][0].sum(axis=0)
    # A wire along y, of 75 nm = 35 px, crosses the middle of the field.
    assert silicon[238:274].sum() > 0.85 * silicon.sum()


def test_every_document_passes_the_validators(series, content):
    emitted, _ = derive(documents(series), content)

    for name, doc in emitted:
        validator = event_model.schema_validators[event_model.DocumentNames[name]]
        validator.validate(doc)
    assert emitted[0][1]["quantity"] == "element-maps"
    assert emitted[-1][1]["num_events"] == {
        "maps": 2,
        "quantities": 2,
        "running": 2 * FRAMES,
        "spectra": 2 * 1024,
    }


def test_a_second_pass_gives_the_same(series, content):
    docs = list(documents(series))

    (one, first), (two, second) = derive(docs, content), derive(docs, content)

    assert one == two
    assert all((a[1] == b[1]).all() for a, b in zip(first, second, strict=True))


def test_a_run_without_x_rays_gives_nothing(content):
    run = event_model.compose_run()
    emitted, saved = derive(
        [("start", run.start_doc), ("stop", run.compose_stop())], content
    )

    assert not emitted
    assert not saved


def test_a_file_that_was_cut_short_is_named(series, content):
    with pytest.raises(StreamError, match=r"event 2 says counts .* was it cut short"):
        derive(documents(series, beyond=1), content)


def test_counts_without_a_file_are_refused(series, content):
    with pytest.raises(StreamError, match="no stream resource names the file of eds_"):
        derive(documents(series, resource=False), content)


SMALL = VolumeSettings(size_voxels=32, bin_px=8, final_iterations=3, full_bin_px=0)


def test_a_volume_grows_with_each_tilt_and_is_kept_at_the_end(series, content):
    emitted, saved = derive(documents(series), content, VolumeRouter, settings=SMALL)

    assert emitted[0][1]["quantity"] == "element-volumes"
    rows = [doc["data"] for name, doc in emitted if name == "event"]
    assert [row["tilts"] for row in rows] == [1, 2]
    kinds = [(what["live"], what["version"]) for _, _, what in saved]
    assert kinds == [(True, 1), (True, 2), (False, 2), (True, 3)]
    assert all(array.shape == (4, 32, 32, 32) for _, array, _ in saved)
    assert saved[0][2]["scale_nm"] == pytest.approx([1.0, *3 * [8 * 2.134]])
    assert saved[-1][2]["attributes"]["strays_nm"] == [0.0, 0.0]
    # Two tilts can't tell how high the wire lies, but where across the tilt axis.
    across = saved[2][1][0].sum(axis=(0, 2))
    assert across[13:19].sum() > 0.6 * across.sum()


def test_full_volumes_of_each_element_are_kept_beside_the_coarse_one(series, content):
    settings = replace(SMALL, full_bin_px=4)
    emitted, saved = derive(documents(series), content, VolumeRouter, settings=settings)

    assert emitted[0][1]["parameters"]["full_bin_px"] == 4
    full = [(key, array, what) for key, array, what in saved if key != "volume"]
    assert [key for key, _, _ in full] == ["full-Si", "full-O", "full-F", "full-C"]
    coarse = saved[-5][1]
    for (_, array, what), whole in zip(full, coarse, strict=True):
        assert (what["live"], what["version"]) == (False, 2)
        assert what["dims"] == ("z", "x", "y")
        assert what["scale_nm"] == pytest.approx(4 * 2.134)
        assert array.shape == (64, 64, 64)
        assert array.sum() == pytest.approx(whole.sum(), rel=0.1)


def test_a_volume_knows_how_long_a_tilt_was_exposed(series, content):
    emitted, _ = derive(
        documents(series, charge_c=(1e-9, 5e-10)),
        content,
        VolumeRouter,
        settings=SMALL,
    )

    first, second = [doc["data"] for name, doc in emitted if name == "event"]
    assert first["exposure"] == pytest.approx(1.0, abs=0.03)
    assert second["exposure"] == pytest.approx(0.5, abs=0.02)


def test_an_exposure_without_charge_adds_nothing(series, content):
    emitted, saved = derive(
        documents(series, charge_c=(1e-9, 0.0)), content, VolumeRouter, settings=SMALL
    )

    assert [name for name, _ in emitted].count("event") == 1
    assert [what["version"] for _, _, what in saved] == [1, 1, 2]


def test_maps_are_made_with_the_windows_that_the_run_asks_for(series, content):
    beside = [
        {**w._asdict(), "low_ev": w.low_ev + 120, "high_ev": w.high_ev + 120}
        for w in HE_2021
    ]

    emitted, _ = derive(documents(series, eds_windows=beside), content, EdsMapsRouter)

    windows_ev = emitted[0][1]["parameters"]["windows_ev"]
    assert windows_ev["Si"] == [1782.0, 1938.0]
    rows = rows_of(emitted, "Si_net")
    usual, _ = derive(documents(series), content, EdsMapsRouter)
    known = rows_of(usual, "Si_net")
    assert rows[0]["Si_net"] < 0.3 * known[0]["Si_net"]


def test_a_run_may_ask_for_the_iterations_of_the_paper(series, content):
    docs = list(documents(series))
    asked = {**docs[0][1], "volume_settings": {"final_iterations": 20}}

    plain, saved = derive(docs, content, VolumeRouter, settings=SMALL)
    emitted, paper = derive(
        [("start", asked), *docs[1:]], content, VolumeRouter, settings=SMALL
    )

    assert plain[0][1]["parameters"]["final_iterations"] == 3
    assert emitted[0][1]["parameters"]["final_iterations"] == 20
    assert not (saved[2][1] == paper[2][1]).all()


def test_a_setting_that_there_is_not_is_refused(series, content):
    docs = list(documents(series))
    asked = {**docs[0][1], "volume_settings": {"iterations": 20}}

    with pytest.raises(KernelInputError, match="there are size_voxels, bin_px, live_"):
        derive([("start", asked), *docs[1:]], content, VolumeRouter)
