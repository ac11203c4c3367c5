import os
from pathlib import Path

import pytest

from cryoline.acquisition import find_config, load_config
from cryoline.acquisition.errors import ConfigError

EXAMPLE = Path(__file__).parents[2] / "sim" / "instrument.toml"


def written(folder: Path, text: str) -> Path:
    path = folder / "instrument.toml"
    path.write_text(text)
    return path


def test_the_example_is_valid_and_its_paths_are_relative_to_it() -> None:
    config = load_config(EXAMPLE)

    assert config.layout.root == EXAMPLE.parent / "data"
    assert {"potentiostat", "glovebox", "operator", "clock"} <= set(config.devices)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[instrument]\nname = "x"\ndata_dir = "y"\n',
            "unknown key 'instrument.data_dir'; did you mean 'data_directory'?",
        ),
        (
            '[instrument]\nname = "x"\n[devices.p]\nplugi = "potentiostat"\n'
            'plugin = "potentiostat"\nprefix = "A:"\n',
            "unknown key 'devices.p.plugi'; did you mean 'plugin'?",
        ),
        ("[epics]\naddresses = []\n", "key 'instrument' is missing"),
        (
            '[instrument]\nname = "x"\n[devices.p]\nplugin = "potentiostt"\n'
            'prefix = "A:"\n',
            "devices.p.plugin: no plugin 'potentiostt'; did you mean 'potentiostat'?",
        ),
        (
            '[instrument]\nname = "x"\n[devices.p]\nplugin = "potentiostat"\n'
            'prefix = "A"\n',
            "devices.p.prefix = 'A': String should match pattern",
        ),
        (
            '[instrument]\nname = "x"\nminimum_free_mb = -1\n',
            "instrument.minimum_free_mb = -1: Input should be greater than or equal",
        ),
        (
            '[instrument]\nname = "x"\n[dose]\nlimit_e_per_a2 = 1e5\n',
            "unknown key 'dose.limit_e_per_a2'; did you mean 'limit_e_per_nm2'?",
        ),
        (
            '[instrument]\nname = "x"\n[dose]\nlimit_e_per_nm2 = 0\n',
            "dose.limit_e_per_nm2 = 0: Input should be greater than 0",
        ),
        (
            '[instrument]\nname = "x"\n[dose]\nlimit_e_per_nm2 = nan\n',
            "dose.limit_e_per_nm2 = nan: Input should be",
        ),
        (
            '[instrument]\nname = "x"\n[dose]\nbeam = "baem"\n[devices.beam]\n'
            'plugin = "beam"\nprefix = "A:"\n',
            "dose.beam: no device 'baem'; did you mean 'beam'?",
        ),
        ("[instrument", "not valid TOML"),
        ('path = "/x"\n[instrument]\nname = "x"\n', "unknown key 'path'"),
    ],
)
def test_every_mistake_names_the_file_the_key_and_what_to_do(
    tmp_path: Path, text: str, message: str
) -> None:
    path = written(tmp_path, text)

    with pytest.raises(ConfigError) as caught:
        load_config(path)

    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_the_ledger_lies_in_the_data_directory_unless_another_place_is_named(
    tmp_path: Path,
) -> None:
    plain = load_config(written(tmp_path, '[instrument]\nname = "x"\n'))
    assert plain.dose_ledger == tmp_path / "data" / "dose.sqlite"
    assert plain.dose_backup == tmp_path / "data" / "dose-backup.sqlite"
    assert plain.dose.limit_e_per_nm2 == 1e7

    text = '[instrument]\nname = "x"\n[dose]\nbackup = "/mnt/safe/dose.sqlite"\n'
    other = load_config(written(tmp_path, text))
    assert other.dose_backup == Path("/mnt/safe/dose.sqlite")


def test_addresses_come_from_the_laboratory_file(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        '[instrument]\nname = "x"\n[epics]\naddresses = ["10.0.0.5"]\n'
        'addresses_from = "lab.json"\n',
    )
    (tmp_path / "lab.json").write_text('{"addresses": ["127.0.0.1:5555"]}')

    assert load_config(path).epics_addresses() == ("10.0.0.5", "127.0.0.1:5555")


@pytest.mark.parametrize("content", [None, "{", "[]", "{}"])
def test_a_missing_or_foreign_laboratory_file_is_a_clear_error(
    tmp_path: Path, content: str | None
) -> None:
    path = written(
        tmp_path, '[instrument]\nname = "x"\n[epics]\naddresses_from = "lab.json"\n'
    )
    if content is not None:
        (tmp_path / "lab.json").write_text(content)

    with pytest.raises(ConfigError, match=r"lab\.json"):
        load_config(path).epics_addresses()


def test_the_given_path_wins_over_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = written(tmp_path, "")
    monkeypatch.setenv("CRYOLINE_CONFIG", os.devnull)

    assert find_config(given) == given


def test_no_configuration_at_all_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CRYOLINE_CONFIG", raising=False)

    with pytest.raises(ConfigError, match="cryoline sim up --dir DIR"):
        find_config(None)


def test_the_fingerprint_follows_the_bytes(tmp_path: Path) -> None:
    before = load_config(written(tmp_path, '[instrument]\nname = "x"\n')).fingerprint
    after = load_config(written(tmp_path, '[instrument]\nname = "y"\n')).fingerprint

    assert before != after
