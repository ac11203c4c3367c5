"""Finding ports for the servers on loopback."""

import contextlib
import socket

from cryoline.sim.errors import PortInUseError

__all__ = ["free_ports", "wanted_ports"]

_LOOPBACK = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Return ports that are free now for both TCP and UDP, all different."""
    with contextlib.ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < count:
            tcp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            tcp.bind((_LOOPBACK, 0))
            port = tcp.getsockname()[1]
            udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            with contextlib.suppress(OSError):
                udp.bind((_LOOPBACK, port))
                ports.append(port)
        return ports


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
