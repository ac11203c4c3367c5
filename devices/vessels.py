"""The vessels that a specimen passes through; first the glovebox."""

from ophyd import Component as Cpt
from ophyd import Device, EpicsSignalRO

__all__ = ["Glovebox"]


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
