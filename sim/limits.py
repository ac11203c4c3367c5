"""Limits of the laboratory itself, known to the world and to its servers."""

from typing import Final

__all__ = ["ADVANCE_MAX_S", "SEED_MAX"]

ADVANCE_MAX_S: Final = 1e7
"""Most instrument time in one advance, s: some 10 s of computing."""
SEED_MAX: Final = 2**31 - 1
"""A seed fits an EPICS long."""
