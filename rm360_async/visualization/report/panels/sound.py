"""The sound strip: the waveform, the frames under it at their rate, and where one ends before the other."""

from __future__ import annotations

from typing import Any

import numpy as np

from rm360_async.domain.check_status import CheckState
from rm360_async.domain.release import FrameRate, frame_rate
from rm360_async.visualization.report.arrays import Sound
from rm360_async.visualization.report.page_data import PageData
from rm360_async.visualization.report.panels.panel import Panel
from rm360_async.visualization.svg import Anchor, Drawing
from rm360_async.visualization.theme import BAD, FAINT, INK, MUTED

MISMATCH = 0.25
"""Seconds by which pictures and sound may differ; on extracted files they did by -0.03 to +0.10."""
_WIDE, _LEFT, _MIDDLE, _HALF, _TICKS = 1000.0, 20.0, 76.0, 56.0, 150.0
_BINS = 800
_NARROWEST = 5.0
"""Least distance of two ticks in user units."""
_STEPS = (1, 2, 5, 10, 15, 30, 60, 150, 300, 600, 1500, 3000)


def sound_panel(material: PageData) -> Panel:
    """Return the panel."""
    title = "Sound against frames"
    sound, record = material.sound, material.folder.record
    frames = max((frame for each in material.inventory.images.values() for frame in each), default=-1) + 1
    released = material.folder.released.fps if material.folder.released else None
    if sound is None or not len(sound.samples):
        lost = any("audio" in what for _, what in material.told.findings)
        sentence = "no sound in this folder" + ("; it was released" if lost else "")
        return Panel("sound", title, CheckState.FAIL if lost else CheckState.UNCHECKED, sentence)
    noted = record.fps if record else None
    measured = frame_rate(frames, sound.seconds)
    fps = noted or (measured.fps if measured else None)
    away = sound.seconds - frames / fps if fps else None
    numbers: dict[str, Any] = {
        "seconds": round(sound.seconds, 4),
        "sample_rate": sound.rate,
        "frames": frames,
        "fps": fps,
        "fps_measured": round(frames / sound.seconds, 4),
        "fps_released": released,
        "sound_longer_by": None if away is None else round(away, 4),
    }
    problems = _problems(numbers, measured, away)
    state = CheckState.FAIL if problems else CheckState.OK if fps else CheckState.UNCHECKED
    told = [
        f"{sound.seconds:.2f} s of sound, {frames} frames"
        + (f" = {frames / fps:.2f} s at {fps:g} a second" if fps else "")
    ]
    told += problems or ([f"the sound is {_longer(away)}"] if away is not None else [])
    drawn = {"drawing": str(_draw(sound, frames, fps, away))}
    return Panel("sound", title, state, "; ".join(told), numbers, drawn)


def _longer(away: float) -> str:
    size = f"{abs(away) * 1000:.0f} ms" if abs(away) < 1 else f"{abs(away):.2f} s"
    return f"{size} {'longer' if away >= 0 else 'shorter'}"


def _problems(numbers: dict[str, Any], measured: FrameRate | None, away: float | None) -> list[str]:
    fps, released = numbers["fps"], numbers["fps_released"]
    found = []
    if fps and released and fps != released:
        found.append(f"the release has {released:g} frames a second")
    if measured and measured.note:
        found.append(measured.note)
    elif measured and fps and measured.fps != fps:
        found.append(f"frames and sound give {measured.fps:g} frames a second, not {fps:g}")
    if away is not None and abs(away) > MISMATCH:
        found.append(f"the sound is {_longer(away)} than the pictures")
    return found


def _draw(sound: Sound, frames: int, fps: float | None, away: float | None) -> Drawing:
    pictures = frames / fps if fps else 0.0
    seconds = max(sound.seconds, pictures)
    drawing = Drawing(_LEFT * 2 + _WIDE, _TICKS + 56, "sound and frames")
    if away is not None and abs(away) > MISMATCH:
        start, end = sorted((sound.seconds, pictures))
        drawing.box((_LEFT + start / seconds * _WIDE, 10), ((end - start) / seconds * _WIDE, _TICKS - 14), BAD)
        drawing.text((_LEFT + _WIDE, 9), f"mismatch {abs(away):.2f} s", 13, BAD, "end")
    drawing.line((_LEFT, _MIDDLE), (_LEFT + _WIDE, _MIDDLE), FAINT)
    drawing.path(_wave(sound, _WIDE * sound.seconds / seconds), INK, INK, 0.5)
    if fps:
        _ticks(drawing, frames, _WIDE / (seconds * fps))
    _clock(drawing, seconds)
    return drawing


def _wave(sound: Sound, width: float) -> str:
    """Return the steps of the waveform's outline: the highest and lowest sample of each stretch."""
    edges = np.linspace(0, len(sound.samples), min(_BINS, len(sound.samples)) + 1).astype(int)[:-1]
    loudest = float(np.abs(sound.samples).max()) or 1.0
    high = np.maximum.reduceat(sound.samples, edges) / loudest
    low = np.minimum.reduceat(sound.samples, edges) / loudest
    x = _LEFT + (np.arange(len(edges)) + 0.5) / len(edges) * width
    top = [f"{a:.1f} {_MIDDLE - b * _HALF:.1f}" for a, b in zip(x, high, strict=True)]
    bottom = [f"{a:.1f} {_MIDDLE - b * _HALF:.1f}" for a, b in zip(x[::-1], low[::-1], strict=True)]
    return "M" + "L".join(top + bottom) + "Z"


def _ticks(drawing: Drawing, frames: int, width: float) -> None:
    """Draw a tick at the beginning of every k-th frame, and the end of the last."""
    step = next((each for each in _STEPS if each * width >= _NARROWEST), _STEPS[-1])
    steps = "".join(f"M{_LEFT + frame * width:.1f} {_TICKS:g}v-10" for frame in range(0, frames, step))
    drawing.path(steps, "none", MUTED, 1)
    end = _LEFT + frames * width
    drawing.line((end, _TICKS - 20), (end, _TICKS + 4), INK, 1.5)
    note = f"{frames} frames end here; ticks: every {'frame' if step == 1 else f'{step}th frame'}"
    anchor: Anchor = "end" if end > _LEFT + _WIDE / 2 else "start"
    drawing.text((end, _TICKS + 20), note, 13, INK, anchor)


def _clock(drawing: Drawing, seconds: float) -> None:
    for part in range(6):
        anchor: Anchor = "start" if part == 0 else "end" if part == 5 else "middle"
        drawing.text((_LEFT + _WIDE * part / 5, _TICKS + 48), f"{seconds * part / 5:.2f} s", 13, MUTED, anchor)
