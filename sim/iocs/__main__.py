"""Run one instrument's server: `python -m cryoline.sim.iocs potentiostat ...`."""

import argparse
import logging
import sys
from importlib import import_module
from pathlib import Path

from cryoline.ioc.process import set_server_environment
from cryoline.sim.prefixes import GROUPS, groups, prefixes


def main() -> int:
    """Run the server until it is told to end."""
    parser = argparse.ArgumentParser(prog="cryoline.sim.iocs")
    parser.add_argument("instrument", choices=tuple(GROUPS))
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--ready-fd", type=int, required=True)
    options = parser.parse_args()
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s"
    )
    set_server_environment(options.port)
    from softioc.softioc import safeEpicsExit

    from cryoline.sim.iocs.server import InstrumentServer

    # Only the one that is served: each module costs memory in each process.
    declare = import_module(f"cryoline.sim.iocs.{options.instrument}").declare
    known = prefixes(options.channels)
    served = {g: known[g] for g in groups(options.instrument, options.channels)}
    server = InstrumentServer(options.instrument, served, declare)
    safeEpicsExit(server.run(options.socket, options.port, options.ready_fd))
    return 0


if __name__ == "__main__":
    sys.exit(main())
