"""What the commands have in common: options, output, the configuration."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from cryoline.acquisition.config import Config, find_config, load_config

__all__ = ["OUT", "ConfigOption", "JsonOption", "print_json", "read_config"]

OUT: Final = Console()
"""Standard output."""

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="The instrument.toml; else CRYOLINE_CONFIG, else ./instrument.toml.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="For a program to read.")]


def read_config(path: Path | None) -> Config:
    """Find and check the configuration; raises ConfigError."""
    return load_config(find_config(path))


def print_json(content: Any) -> None:
    """Write what a program is to read."""
    sys.stdout.write(json.dumps(content, indent=2) + "\n")
