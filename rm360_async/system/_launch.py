"""Become another program that cannot outlive its parent. Run by path, with the standard library only.

`python -I -S _launch.py PARENT_PID COMMAND...`: ask the kernel for SIGKILL when the parent dies, make sure that the
parent has not died before that, then become COMMAND under the same process id. The request survives exec, so the
command needs to know nothing about it; its own children do not inherit it (prctl(2)).
"""

from __future__ import annotations

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1
_SIGKILL = 9  # not signal.SIGKILL: importing `signal` is half of the start-up time
_NOT_STARTED = 127


def main(arguments: list[str]) -> None:
    """Tie this process to its parent and exec the command; exit 127 with one line if that is not possible."""
    parent_pid, command = int(arguments[0]), arguments[1:]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        sys.exit(_NOT_STARTED)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.stderr.write(f"cannot start {command[0]}: {error.strerror}\n")
        sys.exit(_NOT_STARTED)


if __name__ == "__main__":
    main(sys.argv[1:])
