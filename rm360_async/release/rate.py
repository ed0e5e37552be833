"""The frame rate, from frames and seconds of sound.

Measured on extracted files: speech parts run at 30 frames a second, s3_all of the 500-subject release at 15;
the sound is a few hundredths of a second longer than the pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

USUAL_RATES = (30.0, 15.0)
NEAR = 0.05
"""How far (relative) a measured rate may be from a usual one to be taken as it."""


@dataclass(frozen=True)
class FrameRate:
    """Frames a second, and a note when the number is not a usual one."""

    fps: float
    note: str = ""


def frame_rate(frames: int, seconds: float) -> FrameRate | None:
    """Return frames over seconds of sound, snapped to 30 or 15; None when either is nothing.

    `frames` is the last frame's number plus one, so that missing frames do not look like another rate.
    """
    if frames <= 0 or seconds <= 0:
        return None
    measured = frames / seconds
    usual = next((rate for rate in USUAL_RATES if abs(measured / rate - 1) <= NEAR), None)
    if usual is not None:
        return FrameRate(usual)
    note = f"odd: {measured:.3g}; {frames} frames in {seconds:.2f} s of sound, neither 30 nor 15 a second"
    return FrameRate(round(measured, 4), note)
