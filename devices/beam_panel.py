"""The process variables of an electron beam; see docs/reference/pvs.md."""

from enum import IntEnum

from ophyd import Component as Cpt
from ophyd import Device, EpicsSignal, EpicsSignalRO

from cryoline.devices.current_signal import CurrentSignalRO

__all__ = ["BeamPanel", "BeamState"]


class BeamState(IntEnum):
    """What the beam does, as State_RBV counts."""

    BLANKED = 0
    ARMED = 1
    EXPOSING = 2
    MEASURING = 3


class BeamPanel(Device):
    """What a beam shows and takes; `Beam` knows what to do with it."""

    charge_c = Cpt(
        EpicsSignalRO,
        "LastCharge_RBV",
        kind="hinted",
        doc="Charge of the last exposure, C.",
    )
    beam_on_s = Cpt(
        EpicsSignalRO,
        "LastTime_RBV",
        kind="normal",
        doc="Time the beam was on in the last exposure, s.",
    )
    frame_count = Cpt(
        EpicsSignalRO,
        "LastFrames_RBV",
        kind="normal",
        doc="Complete frames of the last exposure.",
    )
    outcome = Cpt(
        EpicsSignalRO,
        "LastOutcome_RBV",
        kind="normal",
        doc="How the last exposure ended, an `Outcome`.",
    )
    ticket_uid = Cpt(
        EpicsSignalRO,
        "LastTicket_RBV",
        string=True,
        kind="normal",
        doc="Ticket of the last exposure.",
    )
    exposure_counter = Cpt(
        EpicsSignalRO,
        "ExposureCounter_RBV",
        kind="normal",
        doc="Exposures that have ended since the instrument was made.",
    )
    current_pa = Cpt(
        CurrentSignalRO,
        "Current_RBV",
        kind="normal",
        doc="Probe current as last measured, pA.",
    )
    current_age_s = Cpt(
        EpicsSignalRO,
        "CurrentAge_RBV",
        kind="normal",
        doc="Instrument time since the current was measured, s.",
    )
    energy_kev = Cpt(
        EpicsSignalRO, "Energy_RBV", kind="config", doc="Beam energy, keV."
    )
    current_max_pa = Cpt(
        CurrentSignalRO,
        "CurrentMax_RBV",
        kind="config",
        doc="Largest current that the source can give, pA.",
    )
    boot_id = Cpt(
        EpicsSignalRO,
        "BootId_RBV",
        string=True,
        kind="config",
        doc="Changes when the instrument restarts.",
    )
    state = Cpt(EpicsSignalRO, "State_RBV", kind="omitted", doc="A `BeamState`.")
    blanked = Cpt(
        EpicsSignalRO, "Blanked_RBV", kind="omitted", doc="No beam on the specimen."
    )
    armed_ticket_uid = Cpt(
        EpicsSignalRO,
        "ArmedTicket_RBV",
        string=True,
        kind="omitted",
        doc="Ticket of what is armed or exposing.",
    )
    interlock = Cpt(
        EpicsSignalRO, "Interlock_RBV", kind="omitted", doc="An interlock is tripped."
    )
    interlock_reason = Cpt(
        EpicsSignalRO,
        "InterlockReason_RBV",
        string=True,
        kind="omitted",
        doc="Why the interlock is tripped.",
    )
    instrument_time_s = Cpt(
        EpicsSignalRO, "InstrumentTime_RBV", kind="omitted", doc="Instrument time, s."
    )
    message = Cpt(
        EpicsSignalRO,
        "Message_RBV",
        string=True,
        kind="omitted",
        doc="Why the last request was refused.",
    )
    arm = Cpt(
        EpicsSignal,
        "Arm",
        string=True,
        put_complete=True,
        kind="omitted",
        doc="The exposure to arm, JSON.",
    )
    start = Cpt(
        EpicsSignal,
        "Start",
        put_complete=True,
        kind="omitted",
        doc="1 exposes what is armed.",
    )
    blank = Cpt(
        EpicsSignal,
        "Blank",
        put_complete=True,
        kind="omitted",
        doc="1 blanks, disarms, and ends an exposure.",
    )
    measure = Cpt(
        EpicsSignal,
        "MeasureCurrent",
        put_complete=True,
        kind="omitted",
        doc="1 measures the current in the Faraday cup, specimen blanked.",
    )
    log_request = Cpt(
        EpicsSignal,
        "LogRequest",
        put_complete=True,
        kind="omitted",
        doc="Counter of the exposure whose record is wanted.",
    )
    log_record = Cpt(
        EpicsSignalRO,
        "Log_RBV",
        string=True,
        kind="omitted",
        doc="The record that was asked for, JSON; empty if there is none.",
    )
