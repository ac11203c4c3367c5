import subprocess
import sys
from pathlib import Path

import pytest

from cryoline.plugins import registry
from cryoline.plugins.errors import PluginError


def install(folder: Path, distribution: str, entries: str) -> None:
    """Make an installed distribution, as pip would leave it."""
    info = folder / f"{distribution}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
    )
    (info / "entry_points.txt").write_text(f"[cryoline.devices]\n{entries}\n")


def test_listing_imports_no_plugin() -> None:
    code = (
        "import sys; from cryoline.plugins import registry;"
        "names = [p.name for p in registry.available('cryoline.devices')];"
        "assert 'potentiostat' in names, names;"
        "assert not [m for m in sys.modules if m.startswith('cryoline.devices')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_only_the_plugin_that_is_asked_for_is_loaded() -> None:
    reader = registry.load("cryoline.readers", "mpt")

    assert reader.__module__ == "cryoline.plugins.biologic_mpt"


def test_an_unknown_plugin_is_answered_with_the_nearest() -> None:
    with pytest.raises(PluginError, match=r"no plugin 'potentiosta'; did you mean"):
        registry.load("cryoline.devices", "potentiosta")


def test_a_failing_import_names_plugin_module_cause_and_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "vendorline", "gone = vendorline_gone:Device [vendor]")
    monkeypatch.syspath_prepend(str(tmp_path))

    with pytest.raises(PluginError) as caught:
        registry.load("cryoline.devices", "gone")

    assert "plugin 'gone' (vendorline_gone:Device [vendor])" in str(caught.value)
    assert "No module named 'vendorline_gone'" in str(caught.value)
    assert "pip install 'vendorline[vendor]'" in str(caught.value)


def test_one_name_from_two_distributions_names_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "vendorline", "twin = json:loads")
    install(tmp_path, "otherline", "twin = json:dumps")
    monkeypatch.syspath_prepend(str(tmp_path))

    with pytest.raises(PluginError, match="otherline and vendorline"):
        registry.load("cryoline.devices", "twin")
