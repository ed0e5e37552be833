"""Find an ffmpeg, and run it: the one place that knows where it may come from."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache

_TRIAL_SECONDS = 60
_SILENCE, _TRIAL_RATE = bytes(2 * 4410), 44100
"""A tenth of a second."""


def choose_ffmpeg() -> tuple[str | None, dict[str, str]]:
    """Return the first ffmpeg that encodes MP3, None if there is none, and why those before it do not."""
    problems: dict[str, str] = {}
    for path in ffmpeg_candidates():
        problem = ffmpeg_problem(path)
        if problem is None:
            return path, problems
        problems[path] = problem
    return None, problems


def ffmpeg_candidates() -> Iterator[str]:
    """Yield the programs that may be used: the one on PATH, then the one that imageio-ffmpeg bundles."""
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
    source = ["-f", "s16le", "-ar", str(_TRIAL_RATE), "-ac", "1", "-i", "pipe:0"]
    command = [path, "-hide_banner", "-loglevel", "error", *source, "-f", "mp3", "pipe:1"]
    try:
        done = subprocess.run(command, input=_SILENCE, capture_output=True, check=False, timeout=_TRIAL_SECONDS)
    except subprocess.TimeoutExpired:
        return f"no answer within {_TRIAL_SECONDS} s"
    except OSError as error:
        return error.strerror or str(error)
    if done.returncode == 0:
        return None if done.stdout else "it wrote nothing"
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"


class FfmpegFailed(Exception):
    """ffmpeg could not do what it was asked; the message is its last line."""


@cache
def film_ffmpeg() -> str | None:
    """Return the first ffmpeg that encodes H.264 and AAC, None if there is none."""
    arguments = ["-f", "lavfi", "-i", "color=s=32x32:d=0.1", "-f", "lavfi", "-i", "anullsrc=d=0.1"]
    arguments += ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac", "-f", "null", "-"]
    for path in ffmpeg_candidates():
        try:
            run_ffmpeg(path, arguments)
        except (FfmpegFailed, OSError):
            continue
        return path
    return None


def run_ffmpeg(path: str, arguments: Sequence[str], chunks: Iterable[bytes] = ()) -> None:
    """Run ffmpeg with `chunks` on its standard input, and wait for its end.

    Raises FfmpegFailed, OSError for a full disk, and what the chunks raise; then ffmpeg has ended too.
    """
    with _ffmpeg(path, arguments, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        try:
            for chunk in chunks:
                process.stdin.write(chunk)
            process.stdin.close()
        except BrokenPipeError:
            pass  # ffmpeg has ended early, and says why


def ffmpeg_output(path: str, arguments: Sequence[str], chunk_bytes: int) -> Iterator[bytes]:
    """Yield what ffmpeg writes to its standard output, in chunks of this size; the last may be shorter.

    Raises FfmpegFailed and OSError.
    """
    with _ffmpeg(path, arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while chunk := process.stdout.read(chunk_bytes):
            yield chunk


@contextmanager
def _ffmpeg(path: str, arguments: Sequence[str], stdin: int, stdout: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run ffmpeg for the length of the block; raise FfmpegFailed if it failed, kill it if the block did."""
    command = [path, "-hide_banner", "-loglevel", "error", "-nostdin", "-y", *arguments]
    if stdin == subprocess.PIPE:
        command.remove("-nostdin")
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=errors) as process,
    ):
        try:
            yield process
        except BaseException:
            process.kill()
            raise
        code = process.wait()
        errors.seek(0)
        lines = errors.read().decode(errors="replace").strip().splitlines()
    if code:
        if any("No space left" in line for line in lines):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise FfmpegFailed(lines[-1] if lines else f"exit code {code}")
