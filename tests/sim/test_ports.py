import socket

import pytest

from cryoline.sim.errors import PortInUseError
from cryoline.sim.ports import free_ports, wanted_ports


def test_free_ports_are_all_different() -> None:
    assert len(set(free_ports(4))) == 4


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
