"""What the shell starts. Nothing else is imported before a stop has its answer and the streams are there."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))


def program() -> None:
    """Be the program `rm360`: run the command that was asked for, and leave with its exit code."""
    _have_streams()
    os.environ.setdefault("PATH", os.defpath)  # pydub cannot do without
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _interrupt)
    try:
        from rm360_async.cli.main import main

        code = main()
    except KeyboardInterrupt:  # asked to stop before there was anything to stop
        code = 0
    for number in (signal.SIGINT, signal.SIGTERM):  # all is done; a late one must not change how it ended
        signal.signal(number, signal.SIG_IGN)
    sys.exit(code)


def _have_streams() -> None:
    """Put /dev/null where the starter closed a standard stream: the next file would take its number."""
    for number, (name, mode) in enumerate(_STREAMS):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Take TERM as a Ctrl-C, whoever answers to that at this moment."""
    answer = signal.getsignal(signal.SIGINT)
    if not callable(answer):
        raise KeyboardInterrupt
    answer(signal.SIGINT, frame)
