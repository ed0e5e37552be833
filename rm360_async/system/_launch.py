"""Become another program, or a worker of this package, that cannot outlive its parent. Run by path.

`python -I -S _launch.py PARENT_PID COMMAND...`: ask the kernel for SIGKILL when the parent dies, make sure that the
parent has not died before that, then become COMMAND under the same process id. The request survives exec, so the
command needs to know nothing about it; its own children do not inherit it (prctl(2)).

`python -I _launch.py PARENT_PID --worker IMPORT_PATH FUNCTION ARGUMENT...`: the same, then call FUNCTION
("package.module:name") with the arguments in this process, and exit with what it returns. IMPORT_PATH (JSON) replaces
`sys.path`: a worker imports from where its parent does, and PYTHON* variables and the current folder have no part in
it. A worker takes no notice of a signal to everything that belongs to a job (Slurm, systemd's control-group): its
parent decides when it ends, and ends it with SIGKILL.

Imports the standard library only, and of it as little as possible.
"""

from __future__ import annotations

import ctypes
import os
import sys

WORKER_OPTION = "--worker"
_PR_SET_PDEATHSIG = 1
_SIGKILL = 9  # not signal.SIGKILL: importing `signal` is half of the start-up time
_NOT_STARTED = 127


def main(arguments: list[str]) -> None:
    """Tie this process to its parent and become what the arguments say; exit 127 with one line if that fails."""
    parent_pid, command = int(arguments[0]), arguments[1:]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)  # where it is forbidden, the child starts without it
    if os.getppid() != parent_pid:
        sys.exit(_NOT_STARTED)
    if command[0] == WORKER_OPTION:
        sys.exit(_run_worker(*command[1:]))
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.stderr.write(f"cannot start {command[0]}: {error.strerror}\n")
        sys.exit(_NOT_STARTED)


def _run_worker(import_path: str, function: str, *arguments: str) -> int:
    import json
    import signal
    from importlib import import_module

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.path[:] = json.loads(import_path)
    module, _, name = function.partition(":")
    code: int = getattr(import_module(module), name)(*arguments)
    return code


if __name__ == "__main__":
    main(sys.argv[1:])
