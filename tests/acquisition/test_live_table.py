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
