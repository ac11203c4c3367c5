"""Finding ports for the servers on loopback."""

import itertools
import random
import socket
from typing import Final

from cryoline.sim.errors import PortInUseError

__all__ = ["free_ports", "wanted_ports"]

_LOOPBACK: Final = "127.0.0.1"
_RANGE: Final = range(20_000, 32_000)
"""Below what Linux gives to outgoing connections (32,768 and on): one of those would
take the port before its server is up, and a soft IOC then hangs."""


def free_ports(count: int) -> list[int]:
    """Return ports that are free now for both TCP and UDP, all different."""
    # At random, so that two laboratories that start together rarely want the same.
    drawn = random.SystemRandom().sample(_RANGE, len(_RANGE))
    ports = list(itertools.islice(filter(_is_free, drawn), count))
    if len(ports) < count:
        raise PortInUseError(
            f"laboratory: of the ports {_RANGE[0]}..{_RANGE[-1]} on {_LOOPBACK} fewer "
            f"than {count} are free; choose another --port"
        )
    return ports


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind((_LOOPBACK, port))
            except OSError:
                return False
    return True


def wanted_ports(first: int, count: int) -> list[int]:
    """Return `count` ports from `first` on, or raise PortInUseError."""
    ports = list(range(first, first + count))
    if first < 1 or ports[-1] > 65_535:
        raise PortInUseError(
            f"laboratory: port {first} is outside 1..{65_536 - count}; choose another"
        )
    for port in ports:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(socket.AF_INET, kind) as probe:
                if kind == socket.SOCK_STREAM:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((_LOOPBACK, port))
                except OSError as error:
                    raise PortInUseError(
                        f"laboratory: port {port} on {_LOOPBACK} is in use; "
                        "choose another --port, or leave it out for free ones"
                    ) from error
    return ports
