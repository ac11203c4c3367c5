"""The records that every instrument has."""

from cryoline.ioc.panel import Panel

__all__ = ["declare_vital_signs"]


def declare_vital_signs(panel: Panel) -> None:
    """Add heartbeat, clock and boot id; the message is a panel's own."""
    panel.count("Heartbeat_RBV", "Counts up twice a second of wall time", "beats")
    panel.number("InstrumentTime_RBV", "Time of the instrument", "s", 0, 1e12)
    panel.text("BootId_RBV", "Changes when the instrument restarts")
