"""Entry point. Cleans the import path, repairs closed standard streams and installs signal handlers before all else.

The statements at its top are in that order because the second import would already run a `signal.py` or `types.py` of
the current folder.
"""

import io
import os
import sys

from rm360_async.system.import_path import remove_foreign_folders

remove_foreign_folders()

import signal  # noqa: E402
from types import FrameType  # noqa: E402

_STREAMS = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))
_INTERRUPTED, _TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM
"""As in `domain.exit_code`, which is not imported yet when the first stop can come."""


def program() -> None:
    """Run the command of the command line, and exit with its exit code."""
    _repair_streams()
    _require_utf8_names()
    _escape_unencodable()
    os.environ.setdefault("PATH", os.defpath)  # rclone and ffmpeg are looked for there
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy would start threads that wait in a busy loop
    on_term = _TermHandler()
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, on_term)
    try:
        from rm360_async.cli.main import main

        code = main()
    except KeyboardInterrupt:  # while modules were imported
        code = _INTERRUPTED
    for number in (signal.SIGINT, signal.SIGTERM):  # everything is done: a late signal must not change the exit code
        signal.signal(number, signal.SIG_IGN)
    sys.exit(_TERMINATED if code == _INTERRUPTED and on_term.called else code)


def _repair_streams() -> None:
    """Open /dev/null for each standard stream that is closed; otherwise the next file would take its number."""
    for number, (name, mode) in enumerate(_STREAMS):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def _require_utf8_names() -> None:
    """Start this process again in UTF-8 mode if the locale has another encoding; the streams keep theirs.

    The names of files on Linux are bytes. Those that a config names are UTF-8, and in an ASCII or Latin-1 locale Python
    could not even open them (https://docs.python.org/3/library/os.html#utf8-mode).
    """
    if sys.getfilesystemencoding().lower() == "utf-8" or not sys.executable:
        return
    os.environ.setdefault("PYTHONIOENCODING", sys.stdout.encoding)
    os.environ["PYTHONUTF8"] = "1"  # for child processes too
    os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def _escape_unencodable() -> None:
    """Let standard output and error show a character that their encoding lacks as an escape, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class _TermHandler:
    """Treats TERM like Ctrl-C, whatever handles that at the moment, and remembers that it came."""

    called = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.called = True
        on_interrupt = signal.getsignal(signal.SIGINT)
        if not callable(on_interrupt):
            raise KeyboardInterrupt
        on_interrupt(signal.SIGINT, frame)
