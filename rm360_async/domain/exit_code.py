"""What a command's exit code says."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of every command."""

    DONE = 0
    """All is done, or the command was asked to stop and has stopped cleanly."""
    SOME_FAILED = 1
    """The command has finished, and some performance failed, waits or is not as it should be."""
    BAD_REQUEST = 2
    """The command line or the config is wrong."""
    CANNOT_CONTINUE = 3
    """The command stopped early, for the reason that it has said."""
