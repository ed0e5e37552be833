"""Find the ffmpeg that encodes MP3s."""

from __future__ import annotations

import shutil


def find_ffmpeg() -> str | None:
    """Return the path of the ffmpeg on PATH, else of the one that imageio-ffmpeg bundles; None without either."""
    path = shutil.which("ffmpeg")
    if path:
        return path
    try:
        import imageio_ffmpeg

        bundled: str = imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        return None
    return bundled
