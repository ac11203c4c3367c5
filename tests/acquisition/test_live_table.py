from cryoline.acquisition.live_table import LiveTable


def page(seq_nums: list[int]) -> dict[str, object]:
    return {
        "descriptor": "d",
        "seq_num": seq_nums,
        "data": {"potentiostat_potential_v": [0.1 * n for n in seq_nums]},
    }


def test_the_newest_row_is_shown_at_most_once_a_second_and_the_end_always() -> None:
    lines: list[str] = []
    now = [0.0]
    table = LiveTable(lines.append, every_s=1.0, clock=lambda: now[0])
    table("start", {"uid": "12345678-x", "scan_id": 7, "plan_name": "cv"})
    table(
        "descriptor",
        {
            "uid": "d",
            "data_keys": {"potentiostat_potential_v": {"dtype": "number"}},
            "object_keys": {"potentiostat": ["potentiostat_potential_v"]},
        },
    )
    for k in range(20):  # four pages a second
        now[0] = 0.25 * k
        table("event_page", page([2 * k + 1, 2 * k + 2]))
    table("stop", {"exit_status": "success", "num_events": {"points": 40}})

    assert lines[1].split() == ["row", "potential_v"]
    rows = [line.split()[0] for line in lines[2:-1]]
    assert rows == ["2", "10", "18", "26", "34"]
    assert lines[0].startswith("scan 7  cv")
    assert lines[-1] == "success (40 points)"


def tilt_event(index: int, **data: float) -> dict[str, object]:
    return {
        "descriptor": "maps",
        "data": {
            "tilt_index": float(index),
            "tilt_target_deg": 0.0 - 5.0 * index,
            "tilt_drift_nm_per_min": 3.21,
            "tilt_at_rest": 1.0,
            "dose_fluence_e_per_nm2": 9e4,
            "dose_after_e_per_nm2": 1.1e6,
            "dose_limit_e_per_nm2": 4e6,
            **data,
        },
    }


def test_each_tilt_has_a_line_of_its_own_and_images_to_track_by_have_none() -> None:
    lines: list[str] = []
    table = LiveTable(lines.append)
    table("start", {"uid": "12345678-x", "angles_deg": [0.0, -5.0, -10.0]})
    for name in ("primary", "tracking"):
        uid = "maps" if name == "primary" else name
        table(
            "descriptor",
            {"uid": uid, "name": name, "data_keys": {}, "object_keys": {}},
        )
    table("event", {**tilt_event(1), "descriptor": "tracking"})
    table("event", tilt_event(1))
    table("event", tilt_event(2, tilt_at_rest=0.0, dose_after_e_per_nm2=5e6))
    table("event", tilt_event(0, tilt_drift_nm_per_min=float("nan")))

    dose = "+9e+04 e/nm2: 1.1e+06 received, 2.9e+06 left"
    assert lines[1:] == [
        f"tilt 2/3 -5 deg  drift 3.2 nm/min  {dose}",
        "tilt 3/3 -10 deg  drift 3.2 nm/min, NOT AT REST  "
        "+9e+04 e/nm2: 5e+06 received, 0 left",
        f"tilt 1/3 +0 deg  no image  {dose}",
    ]


def test_a_single_exposure_has_a_line_and_a_baseline_has_none() -> None:
    lines: list[str] = []
    table = LiveTable(lines.append)
    table("start", {"uid": "12345678-x"})
    table(
        "descriptor",
        {"uid": "maps", "name": "primary", "data_keys": {}, "object_keys": {}},
    )
    data = {
        "dose_fluence_e_per_nm2": 905.0,
        "dose_after_e_per_nm2": 905.0,
        "dose_limit_e_per_nm2": 1e7,
    }
    table("event", {"descriptor": "maps", "data": {"clock_instrument_time_s": 1.0}})
    table("event", {"descriptor": "maps", "data": data})

    assert lines[1:] == ["+905 e/nm2: 905 received, 1e+07 left"]
