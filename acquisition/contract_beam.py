"""What an electron beam's IOC must promise before a session exposes with it.

The promises are those of docs/reference/pvs.md. All but the last group are tried
without a beam on the specimen; nothing that is armed there is started.
"""

import json
import math
import time
from typing import Any, Final

from cryoline.acquisition.contract import Breach, Check, Contract
from cryoline.acquisition.contract_beam_exposing import EXPOSING
from cryoline.acquisition.contract_beam_rig import UNITS, BeamRig
from cryoline.devices.beam_panel import BeamState

__all__ = ["CONTRACT"]

_BEAM_OFF_S: Final = 0.5
_TOO_OLD_S: Final = 0.7


def _identity(rig: BeamRig) -> str:
    return f"{rig.identity()}, exposure {rig.get('ExposureCounter_RBV'):.0f}"


def _units(rig: BeamRig) -> str:
    return f"{rig.check_units(UNITS)}; at most {rig.current_max_pa:g} pA"


def _blanked_as_found(rig: BeamRig) -> str:
    # As it was before anything was asked: the rig has not armed anything yet.
    if rig.found_state != BeamState.BLANKED or not rig.found_blanked:
        raise Breach(
            f"State_RBV was {rig.found_state}, Blanked_RBV {int(rig.found_blanked)}"
        )
    return "blanked"


def _no_arm_without_lease(rig: BeamRig) -> str:
    return rig.refuses_to_arm(rig.order(wall_s=0.1), "without a lease")


def _no_arm_without_beat(rig: BeamRig) -> str:
    rig.hold()
    rig.fall_silent()
    rig.until(lambda: False, timeout_s=_TOO_OLD_S)
    return rig.refuses_to_arm(
        rig.order(wall_s=0.1), f"{_TOO_OLD_S:g} s after the last beat"
    )


def _values_are_refused(rig: BeamRig) -> str:
    rig.hold()
    beyond: dict[str, Any] = {
        "dwell_s": -1e-3,
        "pixel_nm": 0.0,
        "width_px": 0,
        "n_frames": 10**9,
        "flyback_s": -1.0,
        "center_x_nm": 1e12,
        "max_time_s": math.nan,
        "max_charge_c": math.inf,
    }
    for key, value in beyond.items():
        rig.refuses_to_arm(rig.order(wall_s=0.1, **{key: value}), f"{key} {value:g}")
    before = int(rig.get("ExposureCounter_RBV"))
    rig.put("LogRequest", before)
    rig.put("LogRequest", -7)
    if (after := int(rig.get("LogRequest"))) != before:
        raise Breach(f"LogRequest of -7 made {after} of {before}; it must stay")
    if not rig.get("Message_RBV"):
        raise Breach("LogRequest of -7: refused, and Message_RBV gives no reason")
    return f"{len(beyond) + 1} refused with a reason"


def _limits_are_needed(rig: BeamRig) -> str:
    rig.hold()
    for key in ("ticket", "max_time_s", "max_charge_c", "n_frames"):
        order = json.loads(rig.order(wall_s=0.1))
        del order[key]
        rig.refuses_to_arm(json.dumps(order), f"without {key}")
    rig.refuses_to_arm("{", "half a text")
    return str(rig.get("Message_RBV"))


def _second_holder_is_refused(rig: BeamRig) -> str:
    rig.hold()
    rig.put("Lease", "contract-other")
    holder = rig.get("LeaseHolder_RBV")
    if holder != rig.session:
        raise Breach(f"{holder!r} has the beam, while {rig.session} beats")
    reason = str(rig.get("Message_RBV"))
    if not reason:
        raise Breach("refused, and Message_RBV gives no reason")
    return reason


def _only_the_holder_arms(rig: BeamRig) -> str:
    rig.hold()
    other = rig.order(wall_s=0.1, session="contract-other")
    reason = rig.refuses_to_arm(other, "a session that does not hold the lease")
    rig.arm(rig.order(wall_s=0.1, session=rig.session))
    return reason


def _arms_and_disarms(rig: BeamRig) -> str:
    counter = rig.get("ExposureCounter_RBV")
    rig.hold()
    ticket = rig.arm(rig.order(wall_s=0.1))
    if (state := rig.get("State_RBV")) != BeamState.ARMED or not rig.get("Blanked_RBV"):
        raise Breach(f"armed, State_RBV is {state:.0f}, and the beam is not blanked")
    rig.put("Disarm", 1)
    if left := rig.get("ArmedTicket_RBV"):
        raise Breach(f"after Disarm ticket {left} is armed")
    if (now := rig.get("ExposureCounter_RBV")) != counter:
        raise Breach(f"ExposureCounter_RBV went from {counter:.0f} to {now:.0f}")
    return f"ticket {ticket} armed and forgotten"


def _dead_man_disarms(rig: BeamRig) -> str:
    rig.hold()
    rig.arm(rig.order(wall_s=0.1))
    rig.fall_silent()
    rig.until(lambda: not rig.get("ArmedTicket_RBV"), timeout_s=2.0)
    after_s = time.monotonic() - rig.last_beat_s
    if rig.get("ArmedTicket_RBV"):
        raise Breach(f"still armed {after_s:.2f} s after the last beat")
    if after_s > _BEAM_OFF_S:
        raise Breach(f"disarmed {after_s:.2f} s after the last beat")
    return f"disarmed {after_s:.2f} s after the last beat"


def _blank_needs_no_lease(rig: BeamRig) -> str:
    rig.hold()
    rig.arm(rig.order(wall_s=0.1))
    rig.put("Lease", "")
    rig.put("Blank", 1)
    if left := rig.get("ArmedTicket_RBV"):
        raise Breach(f"ticket {left} is armed after a Blank from without the lease")
    if not rig.get("Blanked_RBV"):
        raise Breach("Blanked_RBV is 0")
    return "blanked and disarmed"


CONTRACT: Final = Contract(
    kind="beam",
    connect=BeamRig,
    rest=BeamRig.come_to_rest,
    checks=(
        Check(
            "blanked at the start",
            "State_RBV and Blanked_RBV before anything is written",
            _blanked_as_found,
        ),
        Check(
            "says who it is",
            "BootId_RBV; Heartbeat_RBV and InstrumentTime_RBV go on",
            _identity,
        ),
        Check("units", "EGU of every number", _units),
        Check("no arm without lease", "Arm, nobody holds it", _no_arm_without_lease),
        Check("no arm without beat", "Arm, the beats have ended", _no_arm_without_beat),
        Check(
            "refuses, never clamps",
            "Arm and LogRequest with values beyond all limits",
            _values_are_refused,
        ),
        Check(
            "needs limits",
            "Arm without ticket, max_time_s, max_charge_c, n_frames, in turn",
            _limits_are_needed,
        ),
        Check(
            "one holder",
            "Lease by another, while the holder beats",
            _second_holder_is_refused,
        ),
        Check(
            "only the holder arms",
            "Arm that names another session than the holder",
            _only_the_holder_arms,
        ),
        Check("arms and disarms", "Arm, then Disarm", _arms_and_disarms),
        Check(
            "dead-man disarms",
            f"the beats end while armed: disarmed within {_BEAM_OFF_S:g} s",
            _dead_man_disarms,
        ),
        Check(
            "Blank needs no lease",
            "Blank while armed, after the lease is given back",
            _blank_needs_no_lease,
        ),
        *EXPOSING,
    ),
    warning=(
        "this puts the beam ON THE SPECIMEN under it, on 0.32 um, "
        f"{len(EXPOSING)} times, for about 4 s in all. No dose ledger is charged. Do "
        "it on something that may be spoiled, or with the specimen retracted"
    ),
)
