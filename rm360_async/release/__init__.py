"""What the releases are known to hold, so that absent as released differs from lost; pure."""

from rm360_async.release.holding import Absence, Holding, absence, camera_remarks, holding, holding_of, layouts_of
from rm360_async.release.rate import FrameRate, frame_rate
from rm360_async.release.verdict import Extracted, Finding, Verdict, Word, judge

__all__ = [
    "Absence",
    "Extracted",
    "Finding",
    "FrameRate",
    "Holding",
    "Verdict",
    "Word",
    "absence",
    "camera_remarks",
    "frame_rate",
    "holding",
    "holding_of",
    "judge",
    "layouts_of",
]
