"""One file, three names; and what Tiled may not read is refused beforehand."""

from pathlib import Path

import pytest

from cryoline.acquisition.config import load_config
from cryoline.acquisition.errors import ConfigError
from cryoline.acquisition.path_map import Folder, PathMap
from cryoline.acquisition.tiled_server import TiledServer


@pytest.fixture
def paths(layout):
    return PathMap.of(layout)


def test_the_data_directorys_own_folders_have_one_name(layout, paths):
    path = layout.raw_data.resolve() / "run" / "haadf map.h5"
    assert paths.to_instrument(path) == str(path)
    assert paths.to_session(str(path)) == path
    uri = paths.server_uri(path)
    assert uri.endswith("/raw/run/haadf%20map.h5")
    assert paths.local_path(uri) == path
    assert paths.readable == (layout.raw_data.resolve(), layout.results.resolve())


def test_a_path_with_a_blank_is_taken_as_a_device_writes_it(layout, paths):
    path = layout.raw_data.resolve() / "a b.h5"
    assert paths.local_path(f"file://localhost{path}") == path
    assert paths.local_path(f"file://{path}") == path


def test_the_innermost_folder_counts(tmp_path):
    paths = PathMap(
        (
            Folder(tmp_path, server=Path("/srv")),
            Folder(tmp_path / "eds", server=Path("/eds")),
        )
    )
    assert paths.server_uri(tmp_path / "eds" / "x.h5") == "file://localhost/eds/x.h5"
    assert paths.server_uri(tmp_path / "x.h5") == "file://localhost/srv/x.h5"


@pytest.mark.parametrize("path", ["/etc/passwd", "{raw}/../secret.h5", "{raw}x/a.h5"])
def test_a_path_outside_is_refused_with_the_folders_there_are(layout, paths, path):
    outside = path.format(raw=layout.raw_data)
    for refuse in (
        lambda: paths.server_uri(Path(outside)),
        lambda: paths.to_instrument(Path(outside)),
        lambda: paths.local_path(f"file://localhost{outside}"),
        lambda: paths.to_session(outside),
    ):
        with pytest.raises(ConfigError, match=r"lies in no folder that .*paths.NAME"):
            refuse()


def test_a_link_out_of_the_folder_is_refused(layout, paths, tmp_path):
    (layout.raw_data / "link").symlink_to(tmp_path)
    with pytest.raises(ConfigError, match="lies in no folder"):
        paths.server_uri(layout.raw_data / "link" / "x.h5")


@pytest.mark.parametrize("uri", ["http://x/y.h5", "file://other/data/y.h5"])
def test_a_file_of_another_host_is_refused(paths, uri):
    with pytest.raises(ConfigError, match="not a file of this host"):
        paths.local_path(uri)


def test_folders_come_from_the_configuration_and_reach_the_server(tmp_path):
    path = tmp_path / "instrument.toml"
    path.write_text(
        '[instrument]\nname = "x"\n[paths.eds]\nsession = "mnt"\n'
        "instrument = 'D:\\data'\nserver = \"/srv/eds\"\n"
    )
    config = load_config(path)
    file = config.path_map.to_session(r"D:\data\run\a.h5")
    assert file == tmp_path / "mnt" / "run" / "a.h5"
    assert config.path_map.server_uri(file) == "file://localhost/srv/eds/run/a.h5"
    assert Path("/srv/eds") in TiledServer.from_config(config).readable


def test_a_misspelt_key_is_named(tmp_path):
    path = tmp_path / "instrument.toml"
    path.write_text(
        '[instrument]\nname = "x"\n[paths.eds]\nsession = "m"\nserve = "/s"\n'
    )
    with pytest.raises(ConfigError, match=r"'paths.eds.serve'; did you mean 'server'"):
        load_config(path)
