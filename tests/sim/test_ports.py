import socket
from pathlib import Path

import pytest

from cryoline.sim import ports
from cryoline.sim.errors import PortInUseError
from cryoline.sim.ports import free_ports, wanted_ports


def test_free_ports_are_all_different() -> None:
    assert len(set(free_ports(4))) == 4


def test_no_outgoing_connection_can_take_a_port_before_its_server() -> None:
    # It did: a soft IOC then says "can't proceed", and hangs until the start fails.
    outgoing = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii")
    low, high = map(int, outgoing.split())
    assert not any(low <= port <= high for port in free_ports(100))


def test_a_port_that_somebody_has_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        monkeypatch.setattr(ports, "_RANGE", range(port, port + 1))
        with pytest.raises(PortInUseError, match="fewer than 1 are free"):
            free_ports(1)


def test_port_of_another_program_is_refused_by_name() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortInUseError) as refusal:
            wanted_ports(port, 1)
    assert str(refusal.value) == (
        f"laboratory: port {port} on 127.0.0.1 is in use; choose another --port, or "
        "leave it out for free ones"
    )


def test_port_beyond_the_last_is_refused() -> None:
    with pytest.raises(PortInUseError, match="port 65534 is outside"):
        wanted_ports(65_534, 4)
