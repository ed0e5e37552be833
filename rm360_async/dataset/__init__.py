"""Read published performances: `open_performance(folder)` for one, `open_dataset(folder)` for many.

    from rm360_async import open_dataset, open_performance

    performance = open_performance("subjects/0026/e0")
    camera = performance.cameras["25"]                  # K, D, RT (camera-to-world, OpenCV axes, metres), width, height
    for frame in performance.frames("25"):              # numbers, with holes
        half = performance.image("25", frame, reduce=2) # uint8 (height, width, 3) RGB, with camera.reduced(2)
        points = performance.keypoints3d(frame)         # (73, 3) world metres; MissingData if this frame has none
        pixels = performance.project(points, "25")      # (73, 2) px in the full picture, lens distortion included

    for performance in open_dataset("subjects").filter(performance="s*", modalities="audio"):
        track = performance.audio                       # samples (n, channels), rate
        seconds = performance.time(frame)               # frames a second differ: 15 or 30

Everything is read when it is asked for; nothing stays open; all objects can be pickled, and used in threads and after
a fork. Nothing here writes.
"""

from rm360_async.dataset.audio import AudioTrack
from rm360_async.dataset.camera import Camera
from rm360_async.dataset.collection import PublishedDataset, open_dataset
from rm360_async.dataset.errors import DamagedData, MissingData
from rm360_async.dataset.flame import FlameFit, OffsetChoice
from rm360_async.dataset.performance import PublishedPerformance, open_performance
from rm360_async.dataset.scan import Scan

__all__ = [
    "AudioTrack",
    "Camera",
    "DamagedData",
    "FlameFit",
    "MissingData",
    "OffsetChoice",
    "PublishedDataset",
    "PublishedPerformance",
    "Scan",
    "open_dataset",
    "open_performance",
]
