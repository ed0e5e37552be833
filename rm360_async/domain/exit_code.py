"""Exit codes of the commands."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a command tells the shell; README has the table."""

    DONE = 0
    SOME_FAILED = 1
    """Finished, and a performance failed (or, with `--no-wait`, waits), or a check found something wrong."""
    BAD_REQUEST = 2
    """The command line or the config is wrong."""
    CANNOT_CONTINUE = 3
    """A message on standard error says why; also after a second signal, which stops a run at once."""
    INTERRUPTED = 130
    """Stopped cleanly by Ctrl-C with work left: 128 + SIGINT, as shells report it."""
    TERMINATED = 143
    """Stopped cleanly by TERM or a closed terminal (HUP) with work left: 128 + SIGTERM."""

    @property
    def is_stop(self) -> bool:
        """Return True if a signal stopped the command cleanly."""
        return self in (ExitCode.INTERRUPTED, ExitCode.TERMINATED)
