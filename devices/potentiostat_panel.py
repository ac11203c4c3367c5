"""The process variables of a potentiostat's channel; see docs/reference/pvs.md."""

from ophyd import Component as Cpt
from ophyd import Device, EpicsSignal, EpicsSignalRO

__all__ = ["PotentiostatPanel"]


class PotentiostatPanel(Device):
    """What a channel shows and takes; `Potentiostat` knows what to do with it."""

    potential_v = Cpt(
        EpicsSignalRO, "Potential_RBV", kind="hinted", doc="Cell potential, V."
    )
    current_a = Cpt(
        EpicsSignalRO, "Current_RBV", kind="hinted", doc="Current, oxidation > 0, A."
    )
    charge_mah = Cpt(
        EpicsSignalRO,
        "Charge_RBV",
        kind="normal",
        doc="The instrument's coulomb counter since the program's start, mAh.",
    )
    cycle_number = Cpt(EpicsSignalRO, "Cycle_RBV", kind="normal", doc="Cycle, from 1.")
    half_cycle = Cpt(
        EpicsSignalRO, "HalfCycle_RBV", kind="omitted", doc="Half cycle, from 0."
    )
    step_index = Cpt(
        EpicsSignalRO, "Step_RBV", kind="omitted", doc="Step of the program, from 0."
    )
    range_a = Cpt(EpicsSignalRO, "Range_RBV", kind="normal", doc="Current range, A.")
    overload = Cpt(
        EpicsSignalRO, "Overload_RBV", kind="normal", doc="Beyond the current range."
    )
    compliance = Cpt(
        EpicsSignalRO,
        "Compliance_RBV",
        kind="normal",
        doc="It can't drive the current that is set.",
    )
    contact = Cpt(
        EpicsSignalRO, "Contact_RBV", kind="normal", doc="The cell is connected."
    )
    instrument_time_s = Cpt(
        EpicsSignalRO, "InstrumentTime_RBV", kind="normal", doc="Instrument time, s."
    )
    progress_percent = Cpt(
        EpicsSignalRO, "Progress_RBV", kind="omitted", doc="Done of the program, %."
    )
    remaining_s = Cpt(
        EpicsSignalRO,
        "Remaining_RBV",
        kind="omitted",
        doc="Instrument time to the program's end, s.",
    )
    state = Cpt(EpicsSignalRO, "State_RBV", kind="omitted", doc="A `ProgramState`.")
    message = Cpt(
        EpicsSignalRO,
        "Message_RBV",
        string=True,
        kind="omitted",
        doc="Why the last request was refused, or the program failed.",
    )
    potential_min_v = Cpt(
        EpicsSignalRO, "PotentialMin_RBV", kind="config", doc="Lowest potential, V."
    )
    potential_max_v = Cpt(
        EpicsSignalRO, "PotentialMax_RBV", kind="config", doc="Highest potential, V."
    )
    current_max_a = Cpt(
        EpicsSignalRO, "CurrentMax_RBV", kind="config", doc="Largest current, A."
    )
    scan_rate_max_mv_per_s = Cpt(
        EpicsSignalRO, "ScanRateMax_RBV", kind="config", doc="Fastest sweep, mV/s."
    )
    program_uid = Cpt(
        EpicsSignalRO, "ProgramUid_RBV", kind="config", doc="The loaded program."
    )
    boot_id = Cpt(
        EpicsSignalRO, "BootId_RBV", kind="config", doc="Changes when it restarts."
    )
    program = Cpt(
        EpicsSignal,
        "Program",
        string=True,
        put_complete=True,
        kind="omitted",
        doc="The program to load, JSON.",
    )
    start = Cpt(
        EpicsSignal,
        "Start",
        put_complete=True,
        kind="omitted",
        doc="1 starts the loaded program.",
    )
    halt = Cpt(
        EpicsSignal,
        "Stop",
        put_complete=True,
        kind="omitted",
        doc="1 stops the program and opens the circuit.",
    )
    point_count = Cpt(
        EpicsSignalRO, "PointCount_RBV", kind="omitted", doc="Points since loading."
    )
    point_request = Cpt(
        EpicsSignal,
        "PointRequest",
        put_complete=True,
        kind="omitted",
        doc="The first point wanted in the next page.",
    )
    points = Cpt(EpicsSignalRO, "Points_RBV", kind="omitted", doc="One page of points.")
    point_columns = Cpt(
        EpicsSignalRO,
        "PointColumns_RBV",
        string=True,
        kind="omitted",
        doc="The names of a point's columns, comma separated.",
    )
