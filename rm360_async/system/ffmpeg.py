"""Find an ffmpeg that works, and encode MP3 with it: the one place that knows where it may come from."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache, partial

from rm360_async.system.linux import die_with_parent

_TRIAL_SECONDS = 60
_BITRATE = "320k"
_SILENCE, _TRIAL_RATE = bytes(2 * 4410), 44100
"""A tenth of a second."""


class EncodingError(Exception):
    """An ffmpeg that did not encode; the message is its last line."""


@cache
def find_ffmpeg() -> str | None:
    """Return the path of the ffmpeg on PATH, else of the one that imageio-ffmpeg bundles; None if none encodes MP3."""
    return next((path for path in ffmpeg_candidates() if ffmpeg_problem(path) is None), None)


def ffmpeg_candidates() -> Iterator[str]:
    """Yield the programs that may be used, the preferred one first."""
    path = shutil.which("ffmpeg")
    if path:
        yield path
    try:
        import imageio_ffmpeg

        yield imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        return


def ffmpeg_problem(path: str) -> str | None:
    """Return why an ffmpeg cannot encode MP3 (a library of it is missing, it was built without), None if it can."""
    try:
        return None if encode_mp3(path, _SILENCE, _TRIAL_RATE, 1, _TRIAL_SECONDS) else "it wrote nothing"
    except (EncodingError, OSError) as error:
        return str(error)


def encode_mp3(ffmpeg: str, samples: bytes, rate: int, channels: int, timeout: float | None = None) -> bytes:
    """Return samples (16 bit, little-endian, channels interleaved) as MP3.

    The output goes to a file in memory, because a pipe would lack the header with the duration, which ffmpeg writes
    last. The program dies with this process, and inherits blocked signals. Raises EncodingError, and
    OSError(ENOSPC) when ffmpeg found no space.
    """
    output = os.memfd_create("audio.mp3", os.MFD_CLOEXEC)
    try:
        source = ["-f", "s16le", "-ar", str(rate), "-ac", str(channels), "-i", "pipe:0"]
        target = ["-b:a", _BITRATE, "-f", "mp3", "-y", f"/dev/fd/{output}"]
        _run([ffmpeg, "-hide_banner", "-loglevel", "error", *source, *target], samples, output, timeout)
        with os.fdopen(os.dup(output), "rb") as file:
            return file.read()
    finally:
        os.close(output)


def _run(command: list[str], samples: bytes, output: int, timeout: float | None) -> None:
    tie = partial(die_with_parent, os.getpid())
    try:
        done = subprocess.run(
            command,
            input=samples,
            capture_output=True,
            check=False,
            timeout=timeout,
            pass_fds=(output,),
            preexec_fn=tie,
        )
    except subprocess.TimeoutExpired:
        raise EncodingError(f"no answer within {timeout:.0f} s") from None
    except OSError as error:
        raise EncodingError(error.strerror or str(error)) from error
    if done.returncode == 0:
        return
    text = done.stderr.decode(errors="replace").strip()
    if "No space left" in text:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    lines = text.splitlines() or [f"exit code {done.returncode}"]
    raise EncodingError(lines[-1])
