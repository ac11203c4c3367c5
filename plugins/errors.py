"""What plugins raise.

::

    PluginError                a plugin that is unknown, broken or offered twice
    ReaderError                a file that a reader can't take
"""

__all__ = ["PluginError", "ReaderError"]


class PluginError(Exception):
    """A plugin is unknown, offered twice, or fails to import."""


class ReaderError(Exception):
    """A file is foreign, truncated or lacks what the reader needs."""
