"""What analysis raises.

::

    AnalysisError
    +-- KernelInputError       arrays that a kernel can't take (also a ValueError)
    +-- StreamError            documents that a router can't make sense of
"""

__all__ = ["AnalysisError", "KernelInputError", "StreamError"]


class AnalysisError(Exception):
    """The root: a message for a person, who needs no traceback."""


class KernelInputError(AnalysisError, ValueError):
    """Arrays of unequal length, of the wrong shape or of no meaning together."""


class StreamError(AnalysisError):
    """A stream of documents is ambiguous or contradicts its own descriptor."""
