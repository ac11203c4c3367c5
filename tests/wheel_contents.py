"""Build sdist and wheel as a release would, and look into them.

After an editable install a rebuild can give an sdist without sources and an empty
wheel, and report success; so this compares with the files under version control.
Run by ``make check``: ``python tests/wheel_contents.py``.
"""

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("acquisition", "devices", "analysis", "ioc", "plugins", "sim")


def tracked() -> set[str]:
    """Return every file below the package's folders that belongs to it."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *FOLDERS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    return {name for name in listed if (ROOT / name).exists()}


def main() -> int:
    """Return 0 if sdist and wheel hold every file of the package."""
    with tempfile.TemporaryDirectory() as out:
        subprocess.run(
            [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT],
            check=True,
            capture_output=True,
        )
        (wheel,) = Path(out).glob("*.whl")
        (sdist,) = Path(out).glob("*.tar.gz")
        with zipfile.ZipFile(wheel) as archive:
            in_wheel = {
                name.removeprefix("cryoline/")
                for name in archive.namelist()
                if name.startswith("cryoline/")
            }
        with tarfile.open(sdist) as archive:
            in_sdist = {name.partition("/")[2] for name in archive.getnames()}
    expected = tracked()
    problems = [f"not in the wheel: {name}" for name in sorted(expected - in_wheel)]
    problems += [f"not in the sdist: {name}" for name in sorted(expected - in_sdist)]
    problems += [f"only in the wheel: {name}" for name in sorted(in_wheel - expected)]
    sys.stdout.write("\n".join(problems or [f"wheel: {len(in_wheel)} files"]) + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
