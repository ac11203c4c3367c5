"""What the embedded Tiled server's process runs: make the catalog, then serve.

``tiled serve config`` can make a missing catalog, but by a second process, which
imports all of Tiled once more before the server goes on: 20 s of a first start.
Here both commands run in one process.
"""

import sys

__all__ = ["main"]


def main(arguments: list[str]) -> None:
    """Run ``tiled catalog init`` and ``tiled serve config``: catalog URI, file."""
    from tiled.commandline.main import cli_app

    catalog, configuration = arguments
    initialize = ["catalog", "init", "--if-not-exists", catalog]
    cli_app(initialize, standalone_mode=False)
    cli_app(["serve", "config", configuration], standalone_mode=False)


if __name__ == "__main__":
    main(sys.argv[1:])
