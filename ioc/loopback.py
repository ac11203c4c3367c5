"""Keeps EPICS' auxiliary sockets off the network.

The server port is bound to loopback by EPICS_CAS_INTF_ADDR_LIST, but the beacon
sender and the (unused) client inside an IOC open UDP sockets on all interfaces, and
no setting changes that.
"""

import os
import socket
from contextlib import closing

__all__ = ["confine_to_loopback"]


def confine_to_loopback(port: int) -> None:
    """Connect every UDP socket of this process that is on all interfaces to loopback.

    The kernel then binds it to 127.0.0.1 and drops what comes from elsewhere; sending
    with an explicit address still works.
    port: of this IOC; nothing is sent to it, it only names the peer
    """
    for entry in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{entry}")
        except FileNotFoundError:
            continue  # the descriptor of this listing itself
        if not target.startswith("socket:"):
            continue
        with closing(socket.socket(fileno=os.dup(int(entry)))) as twin:
            if twin.family != socket.AF_INET or twin.type != socket.SOCK_DGRAM:
                continue
            if twin.getsockname()[0] == "0.0.0.0":
                twin.connect(("127.0.0.1", port))
