"""The sound of a page: the waveform, the frames under it at their rate, and where one ends before the other."""

from __future__ import annotations

from typing import Any

import numpy as np

from rm360_async.domain.check_status import CheckState
from rm360_async.domain.release import FrameRate, frame_rate
from rm360_async.visualization.report.arrays import Sound
from rm360_async.visualization.report.page_data import PageData
from rm360_async.visualization.report.page_files import FILES_FOLDER
from rm360_async.visualization.report.panels.panel import Panel
from rm360_async.visualization.svg import Anchor, Drawing
from rm360_async.visualization.theme import BAD, FAINT, INK, MUTED

MAX_DIFFERENCE_SECONDS = 0.25
"""By which pictures and sound may differ; on extracted files they did by -0.03 to +0.10."""
_TITLE = "Sound against frames"
_WIDTH, _LEFT, _CENTRE, _AMPLITUDE, _TICKS_Y = 1000.0, 20.0, 76.0, 56.0, 150.0
_MAX_BINS = 800
_MIN_TICK_DISTANCE = 5.0
"""In user units."""
_TICK_STEPS = (1, 2, 5, 10, 15, 30, 60, 150, 300, 600, 1500, 3000)
"""Numbers of frames between two ticks."""
_TIME_LABELS = 6
MAX_SOUND_BYTES = 30 * 2**20


def sound_panel(data: PageData) -> Panel:
    """Return the panel."""
    sound = data.sound
    if sound is None or not len(sound.samples):
        return _panel_without_sound(data)
    frames = max((frame for sizes in data.inventory.images.values() for frame in sizes), default=-1) + 1
    measured = frame_rate(frames, sound.seconds)
    fps = data.folder.fps or (measured.fps if measured else None)
    difference = sound.seconds - frames / fps if fps else None
    numbers: dict[str, Any] = {
        "seconds": round(sound.seconds, 4),
        "sample_rate": sound.rate,
        "frames": frames,
        "fps": fps,
        "fps_measured": round(frames / sound.seconds, 4),
        "fps_released": data.folder.released.fps if data.folder.released else None,
        "sound_longer_by": None if difference is None else round(difference, 4),
    }
    problems = _problems(numbers, measured, difference)
    state = CheckState.FAIL if problems else CheckState.OK if fps else CheckState.UNCHECKED
    parts = [f"{sound.seconds:.2f} s of sound, {frames} frames"]
    parts[0] += f" = {frames / fps:.2f} s at {fps:g} a second" if fps else ""
    parts += problems or ([f"the sound is {_difference_text(difference)}"] if difference is not None else [])
    files = _audible(data)
    content = {"drawing": str(_draw(sound, frames, fps, difference)), "audio": next(iter(files), "")}
    return Panel("sound", _TITLE, state, "; ".join(parts), numbers, content, files=files)


def _audible(data: PageData) -> dict[str, bytes]:
    """Return the MP3 of the folder as a file of the page; none without faces: a voice identifies a person, too."""
    path = data.folder.path / "audio" / "audio.mp3"
    try:
        if data.faces and path.stat().st_size <= MAX_SOUND_BYTES:
            return {f"{FILES_FOLDER}/sound.mp3": path.read_bytes()}
    except OSError:  # there is none, which the panel of sizes shows
        pass
    return {}


def _panel_without_sound(data: PageData) -> Panel:
    is_lost = any("audio" in message for _, message in data.info.findings)
    sentence = "no sound in this folder" + ("; it was released" if is_lost else "")
    return Panel("sound", _TITLE, CheckState.WARN if is_lost else CheckState.UNCHECKED, sentence)


def _difference_text(seconds: float) -> str:
    size = f"{abs(seconds) * 1000:.0f} ms" if abs(seconds) < 1 else f"{abs(seconds):.2f} s"
    return f"{size} {'longer' if seconds >= 0 else 'shorter'}"


def _is_mismatch(difference: float | None) -> bool:
    return difference is not None and abs(difference) > MAX_DIFFERENCE_SECONDS


def _problems(numbers: dict[str, Any], measured: FrameRate | None, difference: float | None) -> list[str]:
    fps, released = numbers["fps"], numbers["fps_released"]
    problems = []
    if fps and released and fps != released:
        problems.append(f"the release has {released:g} frames a second")
    if measured and measured.note:
        problems.append(measured.note)
    elif measured and fps and measured.fps != fps:
        problems.append(f"frames and sound give {measured.fps:g} frames a second, not {fps:g}")
    if difference is not None and _is_mismatch(difference):
        problems.append(f"the sound is {_difference_text(difference)} than the pictures")
    return problems


def _draw(sound: Sound, frames: int, fps: float | None, difference: float | None) -> Drawing:
    picture_seconds = frames / fps if fps else 0.0
    seconds = max(sound.seconds, picture_seconds)
    drawing = Drawing(_LEFT * 2 + _WIDTH, _TICKS_Y + 56, "sound and frames")
    if difference is not None and _is_mismatch(difference):
        start, end = (each / seconds * _WIDTH for each in sorted((sound.seconds, picture_seconds)))
        drawing.box((_LEFT + start, 10), (end - start, _TICKS_Y - 14), BAD)
        drawing.text((_LEFT + _WIDTH, 9), f"mismatch {abs(difference):.2f} s", 13, BAD, "end")
    drawing.line((_LEFT, _CENTRE), (_LEFT + _WIDTH, _CENTRE), FAINT)
    drawing.path(_waveform(sound, _WIDTH * sound.seconds / seconds), INK, INK, 0.5)
    if fps:
        _draw_ticks(drawing, frames, _WIDTH / (seconds * fps))
    _draw_times(drawing, seconds)
    return drawing


def _waveform(sound: Sound, width: float) -> str:
    """Return the path commands of the waveform's outline: the highest and lowest sample of each bin."""
    edges = np.linspace(0, len(sound.samples), min(_MAX_BINS, len(sound.samples)) + 1).astype(int)[:-1]
    loudest = float(np.abs(sound.samples).max()) or 1.0
    high = np.maximum.reduceat(sound.samples, edges) / loudest
    low = np.minimum.reduceat(sound.samples, edges) / loudest
    x = _LEFT + (np.arange(len(edges)) + 0.5) / len(edges) * width
    upper = [f"{a:.1f} {_CENTRE - b * _AMPLITUDE:.1f}" for a, b in zip(x, high, strict=True)]
    lower = [f"{a:.1f} {_CENTRE - b * _AMPLITUDE:.1f}" for a, b in zip(x[::-1], low[::-1], strict=True)]
    return "M" + "L".join(upper + lower) + "Z"


def _draw_ticks(drawing: Drawing, frames: int, frame_width: float) -> None:
    """Draw a tick at the beginning of every k-th frame, and the end of the last."""
    step = next((step for step in _TICK_STEPS if step * frame_width >= _MIN_TICK_DISTANCE), _TICK_STEPS[-1])
    ticks = "".join(f"M{_LEFT + frame * frame_width:.1f} {_TICKS_Y:g}v-10" for frame in range(0, frames, step))
    drawing.path(ticks, "none", MUTED, 1)
    end = _LEFT + frames * frame_width
    drawing.line((end, _TICKS_Y - 20), (end, _TICKS_Y + 4), INK, 1.5)
    note = f"{frames} frames end here; ticks: every {'frame' if step == 1 else f'{step}th frame'}"
    anchor: Anchor = "end" if end > _LEFT + _WIDTH / 2 else "start"
    drawing.text((end, _TICKS_Y + 20), note, 13, INK, anchor)


def _draw_times(drawing: Drawing, seconds: float) -> None:
    last = _TIME_LABELS - 1
    for label in range(_TIME_LABELS):
        anchor: Anchor = "start" if label == 0 else "end" if label == last else "middle"
        share = label / last
        drawing.text((_LEFT + _WIDTH * label / last, _TICKS_Y + 48), f"{seconds * share:.2f} s", 13, MUTED, anchor)
