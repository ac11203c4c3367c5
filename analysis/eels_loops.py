"""How numba is to compile the loops that fit energy-loss spectra."""

from typing import Any, Final

__all__ = ["ANY_ORDER", "EXACT_ORDER", "IN_ORDER"]

EXACT_ORDER: Final[dict[str, Any]] = {
    "cache": True,
    "nogil": True,
    "error_model": "numpy",
    "_nrt": False,
}
"""As written. Nothing here makes an array, and nobody counts who holds one: that took
a fifth of the time."""

IN_ORDER: Final = EXACT_ORDER | {"fastmath": {"contract", "nsz"}}
"""Products and sums in one instruction, for loops whose channels know no other."""

ANY_ORDER: Final = EXACT_ORDER | {"fastmath": {"reassoc", "contract", "nsz"}}
"""Sums over channels in eight parts."""
