"""What an IOC process says about itself before EPICS is loaded."""

import os

__all__ = ["set_server_environment"]


def set_server_environment(port: int, interface: str = "127.0.0.1") -> None:
    """Say where to serve; must come before anything that loads EPICS is imported."""
    os.environ.update(
        EPICS_CAS_SERVER_PORT=str(port),
        EPICS_CAS_INTF_ADDR_LIST=interface,
        EPICS_CAS_BEACON_ADDR_LIST=interface,
        EPICS_CAS_AUTO_BEACON_ADDR_LIST="NO",
        # Of the client inside an IOC, which nobody uses.
        EPICS_CA_ADDR_LIST="127.0.0.1",
        EPICS_CA_AUTO_ADDR_LIST="NO",
    )
