from pathlib import Path

import pytest

from cryoline.acquisition import load_config, open_session


def test_a_session_without_a_beam_has_no_ledger_and_works(tmp_path: Path) -> None:
    import bluesky.plan_stubs as bps

    path = tmp_path / "instrument.toml"
    path.write_text('[instrument]\nname = "bench"\nminimum_free_mb = 1\n')

    session = open_session(load_config(path))

    assert session.dose is None
    assert session.ledger is None
    assert session.RE(bps.null()).exit_status == "success"
    assert not (tmp_path / "data" / "dose.sqlite").exists()


def test_a_plan_that_exposes_without_a_ledger_is_refused(tmp_path: Path) -> None:
    from bluesky.utils import InvalidCommand, Msg

    path = tmp_path / "instrument.toml"
    path.write_text('[instrument]\nname = "bench"\nminimum_free_mb = 1\n')
    session = open_session(load_config(path))

    with pytest.raises(InvalidCommand):
        session.RE([Msg("preflight", None, ())])
