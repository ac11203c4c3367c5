"""`cryoline serve keithley`: serve a source-meter as a standard potentiostat."""

import argparse
import logging
import sys
from pathlib import Path

from cryoline.ioc.process import set_server_environment
from cryoline.plugins.scpi_potentiostat.errors import BridgeError
from cryoline.plugins.scpi_potentiostat.supervisor import REFUSED, supervise

_LOOPBACK = "127.0.0.1"


def main() -> int:
    """Run the bridge until it is told to end."""
    options = _options().parse_args()
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s"
    )
    if not options.prefix.endswith(":"):
        logging.error("--prefix %s must end with a colon", options.prefix)
        return REFUSED
    if not options.unsupervised:
        module = "cryoline.plugins.scpi_potentiostat"
        return supervise(
            [sys.executable, "-m", module, *sys.argv[1:], "--unsupervised"]
        )
    set_server_environment(options.port, options.interface)
    try:
        return _serve(options)
    except BridgeError as error:
        logging.error("%s", error)
        return REFUSED


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cryoline serve keithley",
        description="Serve a source-meter of the 2450 family as a potentiostat. The "
        "program and its limits run in this process and in the meter.",
        epilog="Example: cryoline serve keithley --address "
        "TCPIP::192.168.7.31::5025::SOCKET --prefix LAB:POT2:",
    )
    parser.add_argument("--address", required=True, help="VISA address of the meter")
    parser.add_argument("--prefix", required=True, help="of the PVs, e.g. LAB:POT2:")
    parser.add_argument("--port", type=int, default=5064, help="of Channel Access")
    parser.add_argument(
        "--interface", default=_LOOPBACK, help="address to serve on (%(default)s)"
    )
    parser.add_argument(
        "--directory",
        type=Path,
        help="where program and points are kept (bridge/PREFIX)",
    )
    parser.add_argument(
        "--wires", type=int, choices=(2, 4), default=4, help="to the cell (%(default)s)"
    )
    parser.add_argument(
        "--nplc",
        type=float,
        default=1.0,
        help="power line cycles a reading integrates (%(default)s)",
    )
    parser.add_argument(
        "--period",
        type=float,
        default=0.05,
        help="s between readings, if the meter is not slower (%(default)s)",
    )
    parser.add_argument(
        "--look-every",
        type=float,
        default=10.0,
        help="s between looks at the potential while nothing runs (%(default)s)",
    )
    parser.add_argument(
        "--unsupervised",
        action="store_true",
        help="don't start it again if it dies: something else does, e.g. systemd",
    )
    return parser


def _serve(options: argparse.Namespace) -> int:
    # Late: they load EPICS, whose environment must be set before.
    from softioc.softioc import safeEpicsExit

    try:
        from cryoline.plugins.scpi_potentiostat.link import ScpiLink
    except ImportError as error:
        raise BridgeError(
            f"keithley: {error}; pip install 'cryoline[keithley]'"
        ) from error
    from cryoline.plugins.scpi_potentiostat.channel import Channel
    from cryoline.plugins.scpi_potentiostat.instrument import Instrument
    from cryoline.plugins.scpi_potentiostat.meter import SourceMeter
    from cryoline.plugins.scpi_potentiostat.server import BridgeServer
    from cryoline.plugins.scpi_potentiostat.storage import Storage

    name = options.prefix.rstrip(":").replace(":", "_")
    directory = options.directory or Path("bridge") / name

    def open_meter() -> SourceMeter:
        return SourceMeter(
            ScpiLink.open(options.address),
            four_wire=options.wires == 4,
            power_line_cycles=options.nplc,
        )

    with Storage(directory) as storage:
        instrument = Instrument(open_meter, storage, look_every_s=options.look_every)
        channel = Channel(
            instrument, period_s=options.period, on_defect=lambda: server.end(2)
        )
        server = BridgeServer(options.prefix, channel)
        is_local = options.interface == _LOOPBACK
        code = server.run(
            loopback_port=options.port if is_local else None,
            ready=lambda: logging.info(
                "%s serves %s on port %d", options.prefix, options.address, options.port
            ),
        )
    safeEpicsExit(code)
    return code


if __name__ == "__main__":
    sys.exit(main())
