"""The vessels that a specimen passes through on its cold way."""

from ophyd import Component as Cpt
from ophyd import Device, EpicsSignalRO

from cryoline.devices.setting import CommandSignal, SettingSignal

__all__ = ["CryoHolder", "Glovebox", "PfibChamber", "PlungePot", "Suitcase"]


class Glovebox(Device):
    """An inert-gas box; its water and oxygen decide whether a cell survives opening.

    Limits of the papers: < 5 ppm each to assemble, < 10 ppm to disassemble
    (cryo-APT study, Methods).
    """

    temperature_degc = Cpt(
        EpicsSignalRO, "Temperature_RBV", kind="normal", doc="Gas temperature, degC."
    )
    pressure_mbar = Cpt(
        EpicsSignalRO, "Pressure_RBV", kind="normal", doc="Absolute pressure, mbar."
    )
    h2o_ppm = Cpt(EpicsSignalRO, "H2O_RBV", kind="hinted", doc="Water, ppm.")
    o2_ppm = Cpt(EpicsSignalRO, "O2_RBV", kind="hinted", doc="Oxygen, ppm.")
    atmosphere = Cpt(
        EpicsSignalRO, "Atmosphere_RBV", string=True, kind="config", doc="Ar or N2."
    )
    instrument_time_s = Cpt(
        EpicsSignalRO, "InstrumentTime_RBV", kind="normal", doc="Instrument time, s."
    )


class PlungePot(Device):
    """An open dewar of liquid nitrogen in the box."""

    temperature_degc = Cpt(
        EpicsSignalRO, "Temp_RBV", kind="normal", doc="Temperature of the bath, degC."
    )
    ln2_percent = Cpt(
        EpicsSignalRO, "LN2_RBV", kind="hinted", doc="Liquid nitrogen, %."
    )
    boiling = Cpt(
        EpicsSignalRO,
        "Boiling_RBV",
        string=True,
        kind="normal",
        doc="How it boils at the clip: still, film or nucleate.",
    )
    fill = Cpt(CommandSignal, "Fill", kind="omitted", doc="1 fills it.")
    message = Cpt(
        EpicsSignalRO,
        "Message_RBV",
        string=True,
        kind="omitted",
        doc="Why the last request was refused.",
    )


class Suitcase(Device):
    """A vacuum suitcase that keeps its specimen cold on the way.

    The port is what lies between its gate valve and the host that it is docked at;
    the host's pump empties it. The valve opens only between pressures less than two
    decades apart.
    """

    temperature_degc = Cpt(
        EpicsSignalRO, "Temp_RBV", kind="hinted", doc="Temperature inside, degC."
    )
    pressure_mbar = Cpt(
        EpicsSignalRO, "Pressure_RBV", kind="hinted", doc="Pressure inside, mbar."
    )
    pressure_max_mbar = Cpt(
        EpicsSignalRO,
        "PressureMax_RBV",
        kind="normal",
        doc="Worst since the last reset_max, mbar.",
    )
    port_pressure_mbar = Cpt(
        EpicsSignalRO,
        "PortPressure_RBV",
        kind="normal",
        doc="Pressure beyond its gate valve, mbar.",
    )
    ln2_percent = Cpt(
        EpicsSignalRO, "LN2_RBV", kind="normal", doc="Liquid nitrogen, %."
    )
    battery_percent = Cpt(
        EpicsSignalRO, "Battery_RBV", kind="normal", doc="Battery of the pump, %."
    )
    dock = Cpt(
        SettingSignal,
        "Dock",
        string=True,
        kind="normal",
        doc="What it is docked at: none, glovebox, pfib, leap or microscope.",
    )
    gate_valve = Cpt(
        SettingSignal, "GateValve", string=True, kind="normal", doc="shut or open."
    )
    pump = Cpt(SettingSignal, "Pump", string=True, kind="normal", doc="on or off.")
    port_pump = Cpt(
        SettingSignal,
        "PortPump",
        string=True,
        kind="normal",
        doc="Pump of the port, on or off.",
    )
    port_vent = Cpt(
        CommandSignal, "PortVent", kind="omitted", doc="1 lets gas into the port."
    )
    refill = Cpt(CommandSignal, "Refill", kind="omitted", doc="1 fills the dewar.")
    reset_max = Cpt(
        CommandSignal, "ResetMax", kind="omitted", doc="1 begins the maximum anew."
    )
    message = Cpt(
        EpicsSignalRO,
        "Message_RBV",
        string=True,
        kind="omitted",
        doc="Why the last request was refused.",
    )


class PfibChamber(Device):
    """The chamber and cold stage of a plasma FIB, as far as the specimen's way goes."""

    pressure_mbar = Cpt(
        EpicsSignalRO, "Pressure_RBV", kind="hinted", doc="Chamber pressure, mbar."
    )
    stage_temperature_degc = Cpt(
        EpicsSignalRO, "StageTemp_RBV", kind="hinted", doc="Stage temperature, degC."
    )
    stage_setpoint_degc = Cpt(
        SettingSignal, "StageSet", kind="normal", doc="Stage temperature wanted, degC."
    )
    gate_valve = Cpt(
        SettingSignal, "GateValve", string=True, kind="normal", doc="shut or open."
    )
    message = Cpt(
        EpicsSignalRO,
        "Message_RBV",
        string=True,
        kind="omitted",
        doc="Why the last request was refused.",
    )


class CryoHolder(Device):
    """A cooled specimen holder in its loading station."""

    temperature_degc = Cpt(
        EpicsSignalRO, "Temp_RBV", kind="hinted", doc="Temperature of the tip, degC."
    )
    ln2_percent = Cpt(
        EpicsSignalRO, "LN2_RBV", kind="normal", doc="Liquid nitrogen, %."
    )
