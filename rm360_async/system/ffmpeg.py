"""Find an ffmpeg that works: the one place that knows where it may come from."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from functools import cache

_TRIAL_SECONDS = 30


@cache
def find_ffmpeg() -> str | None:
    """Return the path of the ffmpeg on PATH, else of the one that imageio-ffmpeg bundles; None if neither runs."""
    return next((path for path in _candidates() if _runs(path)), None)


def _candidates() -> Iterator[str]:
    path = shutil.which("ffmpeg")
    if path:
        yield path
    try:
        import imageio_ffmpeg

        yield imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        return


def _runs(path: str) -> bool:
    try:
        command = [path, "-version"]
        return subprocess.run(command, capture_output=True, check=False, timeout=_TRIAL_SECONDS).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
