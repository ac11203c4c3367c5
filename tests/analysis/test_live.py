"""The derived run of a cycling run: valid, deterministic, emitted as it happens."""

import copy
import math

import event_model
import numpy as np
import orjson
import pytest
from event_model import DocumentNames, schema_validators

from cryoline.analysis.errors import KernelInputError, StreamError
from cryoline.analysis.incremental import incremental_capacity, reduction_onset
from cryoline.analysis.live import POINT_COLUMNS, CyclingRouter
from cryoline.analysis.voltammogram import voltammogram_peaks

STREAMS = (
    "cycles", "half_cycles", "peaks", "incremental_capacity", "onsets", "alarms",
)  # fmt: skip
ROWS = 300
"""Rows of one sweep."""


def voltammogram(cycles):
    """Columns of cycles between 2.0 and 0.5 V at 1 mV/s, with a peak each way."""
    down = np.linspace(2.0, 0.5, ROWS + 1)[1:]
    up = down[::-1] + 0.005
    potential = np.tile(np.r_[down, up], cycles)
    current = np.tile(
        np.r_[
            -1e-5 * np.exp(-((down - 0.9) ** 2) / 0.02),
            0.9e-5 * np.exp(-((up - 1.2) ** 2) / 0.02),
        ],
        cycles,
    )
    time = 100.0 + 5.0 * np.arange(1, potential.size + 1)
    return {
        "instrument_time_s": time,
        "potential_v": potential,
        "current_a": current,
        "charge_mah": np.cumsum(current * 5.0) / 3.6,
        "cycle_number": 1 + np.arange(potential.size) // (2 * ROWS),
        "half_cycle": np.arange(potential.size) // ROWS,
    }


def raw_run(columns, *, page=250, stop="success", device="pot_", stream="points", **md):
    """Return the documents of a raw run, as a journal gives them."""
    sent = []
    run = event_model.compose_run(
        metadata={"specimen": "Si_1", "ancestors": ["wafer"], **md}
    )
    sent.append(("start", run.start_doc))
    kinds = {"cycle_number": "integer", "half_cycle": "integer"}
    keys = {
        device + name: {
            "source": "x",
            "dtype": kinds.get(name, "number"),
            "shape": [],
        }
        for name in columns
    }
    points = run.compose_descriptor(name=stream, data_keys=keys)
    sent.append(("descriptor", points.descriptor_doc))
    rows = len(columns["half_cycle"])
    for first in range(0, rows, page):
        data = {
            device + name: column[first : first + page].tolist()
            for name, column in columns.items()
        }
        count = len(next(iter(data.values())))
        times = [1.7e9 + first + k for k in range(count)]
        sent.append(
            (
                "event_page",
                points.compose_event_page(
                    data=data,
                    timestamps=dict.fromkeys(data, times),
                    seq_num=list(range(first + 1, first + count + 1)),
                    time=times,
                ),
            )
        )
    if stop:
        sent.append(("stop", run.compose_stop(exit_status=stop, reason="as told")))
    return copy.deepcopy(sent)


def routed(documents, **options):
    emitted = []
    router = CyclingRouter(lambda *pair: emitted.append(pair), **options)
    for name, doc in documents:
        router(name, doc)
    return emitted


def rows_of(emitted, stream):
    uids = {
        doc["uid"]
        for name, doc in emitted
        if name == "descriptor" and doc["name"] == stream
    }
    return [
        doc["data"]
        for name, event in emitted
        for doc in events_of(name, event)
        if doc["descriptor"] in uids
    ]


def events_of(name, doc):
    if name == "event_page":
        return event_model.unpack_event_page(doc)
    return [doc] if name == "event" else []


def same(found, expected):
    """Equal to the last bit, NaN too."""
    return orjson.dumps(found) == orjson.dumps(expected)


def test_emits_a_run_that_event_model_takes() -> None:
    emitted = routed(raw_run(voltammogram(2)))

    for name, doc in emitted:
        schema_validators[DocumentNames[name]].validate(doc)
    assert [emitted[0][0], emitted[-1][0]] == ["start", "stop"]
    for name, doc in emitted:
        if name in ("descriptor", "stop"):
            assert doc["run_start"] == emitted[0][1]["uid"]
    descriptors = {d["uid"]: d for n, d in emitted if n == "descriptor"}
    for name, doc in emitted:
        if name == "event":
            keys = descriptors[doc["descriptor"]]["data_keys"]
            assert set(doc["data"]) == set(doc["timestamps"]) == set(keys)
    stop = emitted[-1][1]
    counts = stop["num_events"]
    assert counts.pop("incremental_capacity") > 4 * 290  # 1.5 V at 5 mV, four times
    assert counts == {"half_cycles": 4, "peaks": 4, "onsets": 1, "cycles": 2}
    uids = [uid for _, doc in emitted for uid in np.atleast_1d(doc["uid"])]
    assert len(set(uids)) == len(uids)


def test_values_have_the_types_that_their_keys_promise() -> None:
    types = {"number": float, "integer": int, "boolean": bool, "string": str}
    emitted = routed(raw_run(voltammogram(1), electrode={"mass_mg": 0.5}))

    for name, doc in emitted:
        if name == "descriptor":
            keys = doc["data_keys"]
            for row in rows_of(emitted, doc["name"]):
                for column, value in row.items():
                    assert type(value) is types[keys[column]["dtype"]], column
            for column, key in keys.items():
                if key["dtype"] == "number":
                    assert "units" in key, column
                    assert key["precision"] > 0, column


def test_start_names_the_raw_run_and_what_was_done() -> None:
    raw = raw_run(voltammogram(1), technique="cyclic-voltammetry")

    start = routed(raw, original_key="2026-11-20_Si_cv_000001")[0][1]

    assert start["original_run_uid"] == raw[0][1]["uid"]
    assert start["original_key"] == "2026-11-20_Si_cv_000001"
    assert start["time"] == raw[0][1]["time"]
    assert (start["specimen"], start["ancestors"]) == ("Si_1", ["wafer"])
    assert (start["technique"], start["quantity"]) == ("cyclic-voltammetry", "cycling")
    assert start["parameters"]["ce_flag_above"] == 1.005
    assert start["analysis_version"]


def test_cycles_and_half_cycles_carry_charge_and_rate() -> None:
    emitted = routed(raw_run(voltammogram(2)))
    area_mah = 1e-5 * math.sqrt(0.02 * math.pi) * 1e3 / 3.6  # Gaussian, 1 mV/s

    halves, cycles = rows_of(emitted, "half_cycles"), rows_of(emitted, "cycles")

    assert [h["half_cycle"] for h in halves] == [0, 1, 2, 3]
    assert [h["cycle_number"] for h in halves] == [1, 1, 2, 2]
    assert [h["scan_rate_mv_per_s"] for h in halves] == pytest.approx([-1, 1, -1, 1])
    assert halves[2]["duration_s"] == ROWS * 5.0
    for cycle in cycles:
        assert cycle["lithiation_mah"] == pytest.approx(area_mah, rel=1e-3)
        assert cycle["coulombic_efficiency"] == pytest.approx(0.9, rel=1e-3)
        assert not cycle["ce_flag"]
        assert not cycle["counter_disagrees"]
        assert cycle["complete"]
        assert "lithiation_mah_per_g" not in cycle


def test_peaks_belong_to_their_sweep() -> None:
    peaks = rows_of(routed(raw_run(voltammogram(2))), "peaks")

    assert [(p["cycle_number"], p["half_cycle"], p["direction"]) for p in peaks] == [
        (1, 0, "cathodic"),
        (1, 1, "anodic"),
        (2, 2, "cathodic"),
        (2, 3, "anodic"),
    ]
    assert [p["potential_v"] for p in peaks] == pytest.approx(
        [0.9, 1.2, 0.9, 1.2], abs=2e-3
    )


def test_a_known_mass_gives_charges_per_gram() -> None:
    emitted = routed(raw_run(voltammogram(1), electrode={"mass_mg": 0.5}))

    (cycle,) = rows_of(emitted, "cycles")
    assert cycle["lithiation_mah_per_g"] == pytest.approx(
        2e3 * cycle["lithiation_mah"], rel=1e-12
    )
    assert "charge_mah_per_g" in rows_of(emitted, "half_cycles")[0]


@pytest.mark.parametrize("page", [1, 7, 299, 300, 301, 5000])
def test_results_do_not_depend_on_the_pages(page) -> None:
    documents = raw_run(voltammogram(2), page=10_000)
    whole = routed(documents)
    paged = routed(raw_run(voltammogram(2), page=page))

    for stream in STREAMS:
        assert same(rows_of(paged, stream), rows_of(whole, stream))


def test_two_passes_give_the_same_documents() -> None:
    documents = raw_run(voltammogram(2))

    assert same(routed(documents), routed(copy.deepcopy(documents)))


def test_a_cycle_comes_with_the_page_in_which_the_next_begins() -> None:
    documents = raw_run(voltammogram(2), page=2 * ROWS, stop=None)

    assert rows_of(routed(documents[:-1]), "cycles") == []
    (cycle,) = rows_of(routed(documents), "cycles")
    assert cycle["cycle_number"] == 1


def test_single_events_are_pages_of_one() -> None:
    documents = raw_run(voltammogram(1))
    singly = []
    for name, doc in documents:
        if name == "event_page":
            singly += [("event", d) for d in event_model.unpack_event_page(doc)]
        else:
            singly.append((name, doc))

    found, expected = routed(singly), routed(documents)
    assert same(rows_of(found, "cycles"), rows_of(expected, "cycles"))


def test_an_interrupted_run_says_so_in_its_last_rows() -> None:
    columns = {name: column[:-100] for name, column in voltammogram(2).items()}

    emitted = routed(raw_run(columns, stop="abort"))

    assert [c["complete"] for c in rows_of(emitted, "cycles")] == [True, False]
    assert [h["complete"] for h in rows_of(emitted, "half_cycles")][-2:] == [
        True,
        False,
    ]
    assert emitted[-1][1]["exit_status"] == "abort"
    assert emitted[-1][1]["reason"] == "as told"


def test_a_galvanostatic_run_has_no_peaks() -> None:
    columns = voltammogram(1)
    columns["potential_v"] = np.r_[
        0.6 - 0.3 * np.tanh(np.linspace(-3, 3, ROWS)),
        0.6 + 0.3 * np.tanh(np.linspace(-3, 3, ROWS)),
    ]

    emitted = routed(raw_run(columns))

    assert rows_of(emitted, "peaks") == []
    assert "peaks" not in emitted[-1][1]["num_events"]
    assert math.isnan(rows_of(emitted, "half_cycles")[0]["scan_rate_mv_per_s"])


@pytest.mark.parametrize(
    "options", [{"stream": "primary"}, {"stream": "points", "without": "charge_mah"}]
)
def test_other_runs_give_nothing(options) -> None:
    columns = voltammogram(1)
    columns.pop(options.pop("without", ""), None)

    assert routed(raw_run(columns, **options)) == []


@pytest.mark.parametrize("device", ["", "potentiostat_", "left_arm_pot_"])
def test_columns_are_found_whatever_the_device_is_called(device) -> None:
    assert len(rows_of(routed(raw_run(voltammogram(1), device=device)), "cycles")) == 1


def test_two_cyclers_in_one_stream_are_refused() -> None:
    columns = voltammogram(1)
    both = {f"{d}_{n}": c for d in ("a", "b") for n, c in columns.items()}
    documents = raw_run({"half_cycle": columns["half_cycle"], **both}, device="")

    with pytest.raises(StreamError, match=r"columns of 2 cyclers \(a_, b_\)"):
        routed(documents)


def test_a_router_takes_one_run_at_a_time() -> None:
    first, second = raw_run(voltammogram(1)), raw_run(voltammogram(1))

    with pytest.raises(StreamError, match="begins within run"):
        routed([first[0], second[0]])
    assert len(routed(first + second)) == 2 * len(routed(first))


def test_a_mass_of_zero_is_refused() -> None:
    with pytest.raises(KernelInputError, match="not above 0 mg"):
        routed(raw_run(voltammogram(1), electrode={"mass_mg": 0.0}))


def test_columns_needed_are_those_of_the_contract() -> None:
    assert set(POINT_COLUMNS) == set(voltammogram(1))


def galvanostatic(cycles, *, rows=200, fade=0.95, resistance_ohm=100.0):
    """Columns of cycles at 0.1 mA; each holds less than the one before."""
    parts = []
    charge_mah = time_s = 0.0
    for cycle in range(cycles):
        whole_mah = 0.5 * fade**cycle
        for half, sign in enumerate((-1.0, 1.0)):
            share = np.arange(1, rows + 1) / rows
            level = 1.2 - share**2 if sign < 0 else 0.2 + share**2
            passed = sign * whole_mah * share * (1.0 if half == 0 else 0.99)
            lapse_s = abs(passed[0]) / 0.1 * 3600
            parts.append(
                np.c_[
                    time_s + lapse_s * np.arange(1, rows + 1),
                    level + sign * 1e-4 * resistance_ohm,
                    np.full(rows, sign * 1e-4),
                    charge_mah + passed,
                    np.full(rows, 1 + cycle),
                    np.full(rows, 2 * cycle + half),
                ]
            )
            charge_mah, time_s = parts[-1][-1, 3], parts[-1][-1, 0]
    table = np.vstack(parts)
    columns = dict(zip(POINT_COLUMNS, table.T, strict=True))
    for name in ("cycle_number", "half_cycle"):
        columns[name] = columns[name].astype(int)
    return columns


def test_retention_counts_from_the_cycle_that_the_run_chose() -> None:
    columns = galvanostatic(4)

    by_default = rows_of(routed(raw_run(columns)), "cycles")
    by_the_third = rows_of(routed(raw_run(columns, retention_cycle=3)), "cycles")

    found = [row["retention"] for row in by_default]
    assert found == pytest.approx([math.nan, 1, 0.95, 0.95**2], nan_ok=True)
    found = [row["retention"] for row in by_the_third]
    assert found == pytest.approx([math.nan, math.nan, 1, 0.95], nan_ok=True)
    assert by_default[-1]["ce_sum"] == pytest.approx(4 * 0.99)
    lost_mah = 0.5 * 0.01 * (1 + 0.95 + 0.95**2 + 0.95**3)
    assert by_default[-1]["lost_mah"] == pytest.approx(lost_mah)


@pytest.mark.parametrize("number", ["two", -1, 1.5, True])
def test_a_retention_cycle_that_is_none_is_refused(number) -> None:
    with pytest.raises(StreamError, match="is no cycle's number; give a whole number"):
        routed(raw_run(galvanostatic(1), retention_cycle=number))


def test_the_resistance_is_what_a_reversal_shows() -> None:
    emitted = routed(raw_run(galvanostatic(2)))

    halves = rows_of(emitted, "half_cycles")
    assert math.isnan(halves[0]["resistance_ohm"])  # nothing before it
    # From 0.2 V - 0.01 V to 0.2 V + 0.01 V, and a row's own 25 uV of charging.
    assert halves[1]["ir_drop_v"] == pytest.approx(0.020, abs=3e-5)
    assert halves[1]["resistance_ohm"] == pytest.approx(100.0, abs=0.2)
    assert halves[1]["ir_lapse_s"] == pytest.approx(0.5 * 0.99 * 36_000 / 200)
    scan = rows_of(routed(raw_run(voltammogram(1))), "half_cycles")
    assert all(math.isnan(half["resistance_ohm"]) for half in scan)


def test_dq_dv_holds_each_half_cycles_charge() -> None:
    emitted = routed(raw_run(galvanostatic(2)))

    rows = rows_of(emitted, "incremental_capacity")
    for half in rows_of(emitted, "half_cycles"):
        number = half["half_cycle"]
        parts = [r["dq_dv_mah_per_v"] for r in rows if r["half_cycle"] == number]
        assert 0.005 * sum(parts) == pytest.approx(half["charge_mah"], rel=1e-9)


def test_alarms_are_rows_that_say_what_is_wrong() -> None:
    columns = galvanostatic(2)
    steps = np.diff(columns["charge_mah"], prepend=0.0)
    columns["charge_mah"] = np.cumsum(np.where(steps > 0, 1.1 * steps, steps))
    columns["potential_v"][500:] = 5.0

    emitted = routed(raw_run(columns, device="cycler_"))

    alarms = rows_of(emitted, "alarms")
    lost = [row for row in alarms if row["kind"] == "contact_loss"]
    assert [row["half_cycle"] for row in lost] == [2, 3]  # once a half cycle
    assert lost[0]["message"].startswith("contact to the cell lost? 5.000 V is beyond")
    excess = [row for row in alarms if row["kind"] == "efficiency_above_limit"]
    assert [row["cycle_number"] for row in excess] == [1, 2]
    assert excess[0]["value"] > excess[0]["limit"] == 1.005


def test_live_results_are_those_of_the_kernels_on_the_whole_record() -> None:
    """A record with noise, paged as it happens to come; to 1e-9, as promised."""
    rng = np.random.default_rng(5)
    columns = voltammogram(3)
    columns["current_a"] = columns["current_a"] + 2e-9 * rng.standard_normal(6 * ROWS)
    emitted = routed(raw_run(columns, page=37, electrode={"mass_mg": 0.5}))

    cycles = rows_of(emitted, "cycles")
    peaks = rows_of(emitted, "peaks")
    increments = rows_of(emitted, "incremental_capacity")
    found = []
    for number in range(6):
        rows = columns["half_cycle"] == number
        potential, current = columns["potential_v"][rows], columns["current_a"][rows]
        charge = columns["charge_mah"][rows]
        expected = voltammogram_peaks(potential, current)
        found += [peak for peak in peaks if peak["half_cycle"] == number]
        for row, peak in zip(found[-len(expected) :], expected, strict=True):
            for name, value in peak._asdict().items():
                if name != "direction":
                    assert row[name] == pytest.approx(value, rel=1e-9)
        before = columns["charge_mah"][np.argmax(rows) - 1] if number else 0.0
        batch = incremental_capacity(potential, charge, charge_before_mah=before)
        part = [r["dq_dv_mah_per_v"] for r in increments if r["half_cycle"] == number]
        np.testing.assert_allclose(part, batch.dq_dv_mah_per_v, rtol=1e-9)
    assert len(found) == len(peaks) >= 6
    steps = np.diff(columns["charge_mah"], prepend=0.0)
    for cycle in cycles:
        of_cycle = steps[columns["cycle_number"] == cycle["cycle_number"]]
        out, back = -of_cycle[of_cycle < 0].sum(), of_cycle[of_cycle > 0].sum()
        assert cycle["lithiation_mah"] == pytest.approx(out, rel=1e-9)
        assert cycle["coulombic_efficiency"] == pytest.approx(back / out, rel=1e-9)
        assert cycle["delithiation_mah_per_g"] == pytest.approx(back / 5e-4, rel=1e-9)
    (row,) = rows_of(emitted, "onsets")
    first = columns["half_cycle"] == 0
    onset = reduction_onset(columns["potential_v"][first], columns["current_a"][first])
    assert onset is not None
    assert row["onset_v"] == pytest.approx(onset.onset_v, rel=1e-9)


def test_the_work_grows_with_the_points_however_long_the_half_cycle_is(
    monkeypatch,
) -> None:
    """Points of one endless half cycle, one a page: none is copied again and again."""
    copied = 0

    def counting(join):
        def counted(arrays, *arguments, **options):
            nonlocal copied
            joined = join(arrays, *arguments, **options)
            copied += joined.size
            return joined

        return counted

    for name in ("hstack", "vstack", "concatenate", "append"):
        monkeypatch.setattr(np, name, counting(getattr(np, name)))

    def work(rows):
        nonlocal copied
        columns = {
            "instrument_time_s": np.arange(rows, dtype=float),
            "potential_v": 2.0 - 1e-3 * np.arange(rows),
            "current_a": np.full(rows, -1e-6),
            "charge_mah": -1e-9 * np.arange(rows),
            "cycle_number": np.ones(rows, dtype=int),
            "half_cycle": np.zeros(rows, dtype=int),
        }
        documents = raw_run(columns, page=1)
        copied = 0
        routed(documents)
        return copied

    # Four times the points: 16 times as much if each page copied all before it.
    assert work(1200) < 6 * work(300)
