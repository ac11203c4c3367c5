"""How a silicon nanowire's structure depends on the number of its cycles.

Marks: [S1] Si nanowire paper (EDS tomography), [T] textbook value, [A] assumption: a
free knob, chosen to give the structures that the paper shows and describes.
"""

import math
from dataclasses import dataclass
from typing import Final

__all__ = [
    "ELEMENTS",
    "OXIDE_NM",
    "OXIDE_OXYGEN_PER_NM3",
    "OXIDE_SILICON",
    "SEI_INNER_PER_NM3",
    "SEI_OUTER_PER_NM3",
    "SILICON_PER_NM3",
    "WireKnobs",
    "wire_knobs",
]

ELEMENTS: Final = ("Si", "O", "F", "C", "P")
"""Order of the elements wherever they are an axis; lithium gives no X-rays."""

SILICON_PER_NM3: Final = 50.0  # [T] 2.33 g/cm3 / 28.09 u
# [A] atoms/nm3 of a mixture rich in LiF at the silicon, in organics outside.
SEI_INNER_PER_NM3: Final = {"Si": 0.0, "O": 22.0, "F": 20.0, "C": 12.0, "P": 0.6}
SEI_OUTER_PER_NM3: Final = {"Si": 0.0, "O": 26.0, "F": 8.0, "C": 26.0, "P": 0.5}

OXIDE_NM: Final = 2.0  # [S1] native oxide of 1 to 2 nm
OXIDE_SILICON: Final = 0.75  # [A] part of the silicon left in the oxidised skin
OXIDE_OXYGEN_PER_NM3: Final = 12.0  # [A]

_FULL_LOSS: Final = 0.308  # [S1] capacity lost at cycle 100, against cycle 2
_LOSS_EXPONENT: Final = math.log(0.055 / 0.308) / math.log(34 / 98)
"""So that cycle 36 has lost 5.5 % [S1]."""
_AGEING_CYCLES: Final = 45.0  # [A]
_INVASION_CYCLES: Final = 40.0  # [A]


@dataclass(frozen=True)
class WireKnobs:
    """Structure of a wire; all [A] but where noted."""

    capacity_loss: float
    """Silicon cut off from the largest body: as much as the capacity lost [S1]."""
    porosity: float
    """Of the core, halfway between axis and surface."""
    pore_length_nm: float
    roughness_nm: float
    """rms, of every surface."""
    sei_nm: float
    """Thickness outside the core; 20 nm after one cycle [S1]."""
    invasion_nm: float
    """Depth to which open pores are filled with SEI."""
    wall_nm: float
    """Thickness of the SEI walls between the grains of a wire with dead silicon."""


def wire_knobs(n_cycles: int) -> WireKnobs:
    """Return the structure after this many cycles."""
    if n_cycles < 0:
        raise ValueError(f"n_cycles {n_cycles} is negative; choose 0 or more")
    aged = 1.0 - math.exp(-n_cycles / _AGEING_CYCLES)
    cycled = n_cycles > 0
    return WireKnobs(
        capacity_loss=_FULL_LOSS * (max(n_cycles - 2, 0) / 98) ** _LOSS_EXPONENT,
        porosity=0.04 + 0.42 * aged if cycled else 0.0,
        pore_length_nm=5.0 + 3.0 * aged,
        roughness_nm=1.0 + 6.0 * aged if cycled else 0.3,
        sei_nm=20.0 + 3.0 * math.log10(n_cycles) if cycled else 0.0,
        invasion_nm=38.0 * (1.0 - math.exp(-max(n_cycles - 1, 0) / _INVASION_CYCLES)),
        wall_nm=3.0,
    )
