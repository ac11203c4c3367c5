"""The process variables that detectors have in common; see docs/reference/pvs.md."""

from enum import IntEnum

from ophyd import Component as Cpt
from ophyd import Device, EpicsSignal, EpicsSignalRO, Signal

__all__ = ["DetectorPanel", "DetectorState"]


class DetectorState(IntEnum):
    """What a detector does, as State_RBV counts."""

    IDLE = 0
    WAITING = 1
    READING_OUT = 2
    ERROR = 3


class DetectorPanel(Device):
    """What a detector shows and takes; `FileDetector` knows what to do with it."""

    acquire_counter = Cpt(
        EpicsSignalRO,
        "AcquireCounter_RBV",
        kind="normal",
        doc="Exposures that were recorded and are safely on disk.",
    )
    whole_frame_count = Cpt(
        EpicsSignalRO,
        "Frames_RBV",
        kind="normal",
        doc="Complete scan frames in this exposure.",
    )
    live_time_s = Cpt(
        EpicsSignalRO,
        "LiveTime_RBV",
        kind="normal",
        doc="Live time in the exposure, s.",
    )
    ticket_uid = Cpt(
        EpicsSignalRO,
        "LastTicket_RBV",
        string=True,
        kind="normal",
        doc="Ticket of the exposure that was recorded last.",
    )
    slot_index = Cpt(
        EpicsSignalRO,
        "LastSlot_RBV",
        kind="normal",
        doc="Place of that exposure in its file, from 0.",
    )
    width_px = Cpt(Signal, value=0, kind="config", doc="Pixels along x.")
    height_px = Cpt(Signal, value=0, kind="config", doc="Pixels along y.")
    pixel_nm = Cpt(Signal, value=0.0, kind="config", doc="Size of a pixel, nm.")
    dwell_s = Cpt(Signal, value=0.0, kind="config", doc="Time on a pixel, s.")
    boot_id = Cpt(
        EpicsSignalRO,
        "BootId_RBV",
        string=True,
        kind="config",
        doc="Changes when the instrument restarts.",
    )
    state = Cpt(EpicsSignalRO, "State_RBV", kind="omitted", doc="A `DetectorState`.")
    message = Cpt(
        EpicsSignalRO,
        "Message_RBV",
        string=True,
        kind="omitted",
        doc="Why the last request was refused, or an exposure is lost.",
    )
    file_path = Cpt(
        EpicsSignal,
        "FilePath",
        string=True,
        put_complete=True,
        kind="omitted",
        doc="Directory of the files, as the instrument calls it.",
    )
    file_name = Cpt(
        EpicsSignal,
        "FileName",
        string=True,
        put_complete=True,
        kind="omitted",
        doc="Name of the next file, without its ending.",
    )
    full_file_name = Cpt(
        EpicsSignalRO,
        "FullFileName_RBV",
        string=True,
        kind="omitted",
        doc="The open file, as the instrument calls it.",
    )
    capture = Cpt(
        EpicsSignal,
        "Capture",
        put_complete=True,
        kind="omitted",
        doc="1 opens the file, 0 closes it.",
    )
    capturing = Cpt(
        EpicsSignalRO, "Capture_RBV", kind="omitted", doc="The file is open."
    )
    expect = Cpt(
        EpicsSignal,
        "Expect",
        string=True,
        put_complete=True,
        kind="omitted",
        doc="Ticket whose exposure is to be recorded.",
    )
    slot = Cpt(
        EpicsSignal,
        "Slot",
        put_complete=True,
        kind="omitted",
        doc="Place in the file for the next exposure, from 0.",
    )
    acquire = Cpt(
        EpicsSignal,
        "Acquire",
        put_complete=True,
        kind="omitted",
        doc="1 waits for the expected exposure.",
    )
    cancel = Cpt(
        EpicsSignal,
        "Cancel",
        put_complete=True,
        kind="omitted",
        doc="1 ends the waiting.",
    )
