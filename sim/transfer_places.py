"""Where the specimen can be on its cold way, and how it gets from one place to another.

Which ways exist is the hardware's: nobody can lift a clip out of a shut suitcase.
"""

from enum import IntEnum
from typing import Final

__all__ = [
    "AIR_TRANSIT_S",
    "MOVES",
    "SURROUNDINGS_OF",
    "UNDERWAY",
    "Host",
    "Path",
    "Place",
    "Surroundings",
]


class Place(IntEnum):
    """Where the specimen carrier is."""

    CELL = 0
    """In its sealed cell."""
    GLOVEBOX = 1
    POT = 2
    """In the liquid nitrogen of the plunge pot, in the box."""
    LOCK = 3
    """On the cold shelf of the load lock between box and suitcase."""
    SUITCASE = 4
    PFIB = 5
    HOLDER = 6
    """On the cryo holder, in its loading station."""
    MICROSCOPE = 7
    LEAP = 8


class Host(IntEnum):
    """What the suitcase is docked at."""

    NONE = 0
    GLOVEBOX = 1
    PFIB = 2
    LEAP = 3
    MICROSCOPE = 4


class Surroundings(IntEnum):
    """What the specimen feels; on a move, other than the place it comes from."""

    SEALED = 0
    BOX = 1
    BATH = 2
    SHELF = 3
    SUITCASE = 4
    PFIB = 5
    HOLDER = 6
    AIR = 7
    ROD = 8
    """On a transfer rod in vacuum."""
    MICROSCOPE = 9
    LEAP = 10


Path = tuple[tuple[Surroundings, float], ...]
"""Surroundings on the way and for how long, s. The last ones are the place's own."""

AIR_TRANSIT_S: Final = -1.0
"""In a path: as long as the person needs from the loading station into the column."""

_ROD: Final[Path] = ((Surroundings.ROD, 15.0),)  # [A]

# All durations [A], but the ~10 s in air, which are those of [S1].
MOVES: Final[dict[tuple[Place, Place], Path]] = {
    (Place.CELL, Place.GLOVEBOX): ((Surroundings.BOX, 120.0),),
    (Place.GLOVEBOX, Place.POT): ((Surroundings.BATH, 2.0),),
    (Place.POT, Place.GLOVEBOX): ((Surroundings.BOX, 10.0),),
    (Place.POT, Place.HOLDER): ((Surroundings.BATH, 30.0), (Surroundings.HOLDER, 10.0)),
    (Place.HOLDER, Place.POT): ((Surroundings.HOLDER, 10.0), (Surroundings.BATH, 30.0)),
    (Place.HOLDER, Place.MICROSCOPE): ((Surroundings.AIR, AIR_TRANSIT_S),),
    (Place.POT, Place.LOCK): ((Surroundings.SHELF, 20.0),),
    (Place.LOCK, Place.POT): ((Surroundings.SHELF, 20.0),),
    (Place.LOCK, Place.SUITCASE): _ROD,
    (Place.SUITCASE, Place.LOCK): _ROD,
    (Place.SUITCASE, Place.PFIB): _ROD,
    (Place.PFIB, Place.SUITCASE): _ROD,
    (Place.SUITCASE, Place.LEAP): _ROD,
    (Place.LEAP, Place.SUITCASE): _ROD,
    (Place.SUITCASE, Place.MICROSCOPE): _ROD,
}

SURROUNDINGS_OF: Final[dict[Place, Surroundings]] = {
    Place.CELL: Surroundings.SEALED,
    Place.GLOVEBOX: Surroundings.BOX,
    Place.POT: Surroundings.BATH,
    Place.LOCK: Surroundings.SHELF,
    Place.SUITCASE: Surroundings.SUITCASE,
    Place.PFIB: Surroundings.PFIB,
    Place.HOLDER: Surroundings.HOLDER,
    Place.MICROSCOPE: Surroundings.MICROSCOPE,
    Place.LEAP: Surroundings.LEAP,
}

UNDERWAY: Final = (Place.POT, Place.LOCK, Place.SUITCASE, Place.PFIB, Place.HOLDER)
"""Places from which a specimen can't just be replaced by another."""
