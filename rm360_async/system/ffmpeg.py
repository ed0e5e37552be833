"""Find an ffmpeg that encodes MP3: the one place that knows where it may come from."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

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
