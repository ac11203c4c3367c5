"""What a cycler's rows leave to be worked out: charge over resets, and half cycles."""

import numpy as np
from numpy.typing import NDArray

from cryoline.plugins.errors import ReaderError

__all__ = ["counted_increments", "half_cycles", "integrated_mah", "steps_of"]

_MOSTLY = 0.9
"""[A] assumption: a step with this part of its charge in one direction has that one."""

_MAH_PER_COULOMB = 1 / 3.6


def steps_of(*numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return at which rows one of the numbers (cycle, step) is not the row before's.

    >>> steps_of(np.array([1, 1, 2]), np.array([3, 4, 4])).tolist()
    [False, True, True]
    """
    changes = [np.diff(n, prepend=n[:1]) != 0 for n in numbers]
    return np.asarray(np.logical_or.reduce(changes), dtype=bool)


def counted_increments(
    counter: NDArray[np.float64], new_step: NDArray[np.bool_], *, source: str, name: str
) -> NDArray[np.float64]:
    """Return what each row adds to a counter that never counts down but may begin anew.

    A fall where a step begins, or to less than half, is a new beginning from 0.

    Raises ReaderError at any other fall: it is neither a count nor a reset.

    >>> counted_increments(np.array([1.0, 3.0, 0.5, 2.0]),
    ...     np.array([False, False, True, False]), source="x", name="c").tolist()
    [1.0, 2.0, 0.5, 1.5]
    """
    before = np.r_[0.0, counter[:-1]]
    falls = counter < before
    odd = np.flatnonzero(falls & ~new_step & (counter >= before / 2))
    if odd.size:
        row = int(odd[0])
        raise ReaderError(
            f"{source}: {name} falls in row {row}, from {before[row]} to "
            f"{counter[row]} within a step; a counter may only rise, or begin anew"
        )
    return np.where(falls, counter, counter - before)


def integrated_mah(
    time_s: NDArray[np.float64], current_a: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the charge since the first row; a row is the mean since the one before."""
    lapse_s = np.diff(time_s, prepend=time_s[:1])
    return np.asarray(np.cumsum(current_a * lapse_s) * _MAH_PER_COULOMB)


def half_cycles(
    increment_mah: NDArray[np.float64],
    current_a: NDArray[np.float64],
    new_step: NDArray[np.bool_],
) -> NDArray[np.int64]:
    """Number the half cycles from 0; a rest belongs to the one before it.

    A step whose charge goes in one direction has that direction from its first row on,
    however coarse its counter. Within any other step (a sweep that turns) the sign of
    each row's current decides.
    """
    step = np.cumsum(new_step)
    net, gross = (
        np.bincount(step, part, minlength=step[-1] + 1)
        for part in (increment_mah, np.abs(increment_mah))
    )
    of_step = np.where(np.abs(net) >= _MOSTLY * gross, np.sign(net), np.nan)
    direction = of_step[step]
    # A counter may be too coarse to have moved.
    open_rows = np.isnan(direction) | ((gross == 0)[step])
    direction = np.where(open_rows, np.sign(current_a), direction)
    moving = np.flatnonzero(direction)
    if not moving.size:
        return np.zeros(step.size, dtype=np.int64)
    turns = moving[1:][np.diff(direction[moving]) != 0]
    numbers = np.zeros(step.size, dtype=np.int64)
    numbers[turns] = 1
    return np.cumsum(numbers)
