"""The worker that tries what extractions need, before the first byte is downloaded for them.

That it can be started with its limits is most of it: the libraries for HDF5 and arrays are imported by then. It also
forks a process, as an extraction does, and has each ffmpeg encode an MP3. Its one message is a `ProbeResult`.
"""

from __future__ import annotations

import json
from importlib import import_module

from rm360_async.extraction.forks import try_fork
from rm360_async.system.ffmpeg import choose_ffmpeg
from rm360_async.system.worker import MessageWriter


def main(text: str, messages: MessageWriter) -> int:
    """Do the job: the names of further libraries to import (JSON); return the exit code. Raises Fault."""
    try_fork()
    ffmpeg, problems = choose_ffmpeg()
    libraries = {name: problem for name in json.loads(text) if (problem := _import_problem(name))}
    messages.send({"ffmpeg": ffmpeg, "ffmpeg_problems": problems, "library_problems": libraries})
    return 0


def _import_problem(name: str) -> str:
    """Return why a library cannot be imported, "" if it can."""
    try:
        import_module(name)
    except Exception as error:  # noqa: BLE001 - a broken library raises whatever it likes
        return f"{type(error).__name__}: {error}"
    return ""
