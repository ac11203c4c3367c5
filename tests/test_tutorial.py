"""The tutorials, done as a newcomer does them: block by block, output compared."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PAGES = sorted((Path(__file__).parents[1] / "docs" / "tutorials").glob("*.md"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND_TIMEOUT_S = 240


@dataclass(frozen=True)
class Step:
    """One command or script of the page, and the lines it is said to print."""

    line: int
    kind: str
    text: str
    printed: tuple[str, ...]


def steps_of(page: str) -> Iterator[Step]:
    """Yield what the page has the reader do, in the order of the page."""
    pending: Step | None = None
    for block in BLOCK.finditer(page):
        kind, content = block.groups()
        line = page.count("\n", 0, block.start()) + 1
        if kind == "text":
            assert pending is not None, f"line {line}: output of no script"
            shown = tuple(content.splitlines())
            yield Step(pending.line, pending.kind, pending.text, shown)
            pending = None
            continue
        if pending is not None:
            yield pending
            pending = None
        if kind == "python":
            pending = Step(line, kind, content, ())
        elif kind == "console":
            yield from commands_of(content, line)
        else:
            raise AssertionError(f"line {line}: a block of {kind!r} is not run")
    if pending is not None:
        yield pending


def commands_of(content: str, line: int) -> Iterator[Step]:
    """Yield each ``$ command`` of a console block with the lines below it."""
    first, *parts = re.split(r"^\$ ", content, flags=re.MULTILINE)
    assert not first, f"line {line}: output before the first command"
    for part in parts:
        command, *shown = part.splitlines()
        yield Step(line, "console", command, tuple(shown))


def first_line_missing(shown: tuple[str, ...], output: str) -> str | None:
    """Return the first shown line that the output lacks, in this order.

    ``...`` stands for anything within a line, or for any lines; blanks count once.
    """
    lines = iter(" ".join(line.split()) for line in output.splitlines())
    for wanted in shown:
        words = " ".join(wanted.split())
        pattern = ".*".join(re.escape(part) for part in words.split("..."))
        if words not in ("", "...") and not any(
            re.fullmatch(pattern, x) for x in lines
        ):
            return wanted
    return None


class Newcomer:
    """A person in an empty folder, with the environment's commands on the path."""

    def __init__(self, folder: Path, page: str = "page") -> None:
        self.folder = folder
        self.page = page
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("CRYOLINE_", "EPICS_"))
        }
        scripts = str(Path(sys.executable).parent)
        self.environment["PATH"] = f"{scripts}{os.pathsep}{os.environ['PATH']}"
        self.environment["COLUMNS"] = "80"

    def do(self, step: Step) -> str:
        """Do a step, and return what it printed; fails if it fails."""
        if export := re.fullmatch(r"export (\w+)=(\S+)", step.text):
            self.environment[export[1]] = export[2]
            return ""
        if step.kind == "python":
            script = self.folder / f"line-{step.line}.py"
            script.write_text(step.text, encoding="utf-8")
            command = f"cryoline shell {script.name}"
        else:
            command = step.text
        done = self.run(command)
        assert done.returncode == 0, (
            f"{self.page}, line {step.line}: {command}: exit code {done.returncode}\n"
            f"{done.stdout}\n{done.stderr}"
        )
        return done.stdout

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
        )


@pytest.mark.lab
@pytest.mark.tiled
@pytest.mark.demo
@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_of_a_tutorial_does_what_the_page_says(
    tmp_path: Path, page: Path
) -> None:
    newcomer = Newcomer(tmp_path, page.name)
    steps = list(steps_of(page.read_text(encoding="utf-8")))
    assert len(steps) > 6
    try:
        for step in steps:
            output = newcomer.do(step)
            missing = first_line_missing(step.printed, output)
            assert missing is None, (
                f"{page.name}, line {step.line}: not printed, or not in this order: "
                f"{missing!r}; printed was:\n{output}"
            )
        assert not (tmp_path / "lab" / "lab.json").exists()
    finally:
        newcomer.run("cryoline down --config lab/instrument.toml")
        newcomer.run("cryoline sim down --dir lab")


def test_a_line_that_is_not_printed_is_noticed() -> None:
    output = "one  two\nport 4711 open\nthree\n"

    assert first_line_missing(("one two", "...", "port ... open"), output) is None
    assert first_line_missing(("one two", "one two"), output) == "one two"
    assert first_line_missing(("three", "port ... open"), output) == "port ... open"
    assert first_line_missing(("port ... shut",), output) == "port ... shut"


def test_a_command_that_fails_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="line 7: false: exit code 1"):
        Newcomer(tmp_path).do(Step(7, "console", "false", ()))
