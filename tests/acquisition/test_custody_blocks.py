"""What became of a specimen stands on its runs, the old ones too."""

import time

import pytest

from cryoline.acquisition.custody import CustodyRecord
from cryoline.acquisition.custody_blocks import CustodyBlocks
from cryoline.acquisition.journal import Journal
from cryoline.acquisition.replay import replay


@pytest.fixture
def path(layout):
    return layout.root / "custody.sqlite"


@pytest.fixture
def record(path):
    path.parent.mkdir(exist_ok=True)
    with CustodyRecord(path) as record:
        yield record


def test_without_a_record_or_a_specimen_there_is_nothing_to_say(path, layout):
    assert CustodyBlocks(None).of("nw-01") == {}
    blocks = CustodyBlocks(path)
    assert blocks.of("nw-01") == {}
    assert not path.exists()  # asking makes no record
    assert not blocks.has_changed()


def test_a_specimen_that_nobody_knows_is_left_out(path, record):
    record.register("other")
    assert CustodyBlocks(path).of("nw-01") == {}
    assert CustodyBlocks(path).of(None) == {}


def test_each_row_is_a_change_once(path, record):
    blocks = CustodyBlocks(path)
    assert blocks.has_changed()
    assert not blocks.has_changed()
    record.register("nw-01")
    assert blocks.has_changed()
    assert not blocks.has_changed()
    blocks.ask_again()
    assert blocks.has_changed()


def test_a_record_that_can_not_be_read_holds_up_nothing(path, layout, caplog):
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"no database" * 100)
    assert CustodyBlocks(path).of("nw-01") == {}
    assert "custody of nw-01 is left out" in caplog.text


@pytest.mark.tiled
def test_a_flag_on_the_parent_reaches_a_run_of_long_ago(
    layout, path, record, run_maker, embedded_tiled, tiled_root, wait_for
):
    from cryoline.acquisition.publication_loop import Publisher

    record.register("lamella", parent="nw-01")
    run, other = (
        run_maker(Journal(layout.raw_journal), specimen=name)
        for name in ("lamella", "unknown")
    )
    for each in (run, other):
        each.page(3)
        each.stop()
    url, key = embedded_tiled.url(), embedded_tiled.api_key()
    publisher = Publisher(layout, url, key, custody=path)

    def block(key=run.key):
        return tiled_root["raw", key].metadata["cryoline"]

    try:
        wait_for(publisher.step, "both runs")
        assert block()["custody"]["flags"] == []
        assert "custody" not in block(other.key)
        record.flag("nw-01", "warm", "-90 degC for 20 s", occurred_s=time.time() - 60)
        wait_for(
            lambda: publisher.step() and block()["custody"]["flags"] == ["warm"],
            "the flag",
        )
    finally:
        publisher.close()
    assert block()["technique"] == "cyclic-voltammetry"
    assert tiled_root["raw", run.key].metadata["stop"]["exit_status"] == "success"

    before = dict(block())
    replay(layout, url, key, custody=path)
    assert dict(block()) == before
