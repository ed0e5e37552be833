"""The named steps in the processing of a performance at which runs are disturbed: each is a fault point.

The points are those of rm360_async/system/fault_points.py. `times` is how often a step comes at least while one
performance is processed; the disturbance comes at one of these times.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

Hook = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """One fault point and the side that reaches it.

    `fetch` is the value of processing.fetch that it needs ("" for any).
    """

    point: str
    side: str = "service"
    times: int = 1
    fetch: str = ""

    def hook(self, random: Random, do: str) -> Hook:
        """Return the hook that does something when the step is reached."""
        return {"point": self.point, "side": self.side, "nth": random.randint(1, self.times), "do": do}


SERVICE = (
    Step("ledger made"),
    Step("run recorded"),
    Step("remote listed"),
    Step("performances added"),
    Step("plan applied"),
    Step("selection recorded"),
    Step("claim taken", times=2),
    Step("attempt begun"),
    Step("stage recorded", times=4),
    Step("remote file looked up"),
    Step("sources recorded"),
    Step("ticket added"),
    Step("lease granted"),
    Step("ready to extract"),
    Step("publishing"),
    Step("folder renamed"),
    Step("subject folder synced"),
    Step("published"),
    Step("ratio recorded"),
    Step("completion recorded"),
    Step("spooled file removed"),
    Step("ticket dropped"),
    Step("claim released"),
    Step("manifest written"),
    Step("manifest in place"),
    Step("summary logged"),
    Step("end of run recorded"),
)
WHOLE_DOWNLOAD = (
    Step("sparse file opened"),
    Step("map read"),
    Step("part opened"),
    Step("remote served"),
    Step("range written"),
    Step("range recorded"),
    Step("part downloaded"),
    Step("part compared"),
    Step("committing part"),
    Step("part committed"),
)
RANGE_DOWNLOAD = (
    Step("range download begun", fetch="ranges"),
    Step("sparse file opened", fetch="ranges"),
    Step("remote served", fetch="ranges"),
    Step("range written", times=8, fetch="ranges"),
    Step("range recorded", times=8, fetch="ranges"),
    Step("ranges downloaded", fetch="ranges"),
    Step("source found unchanged", fetch="ranges"),
    Step("sparse file opened", "range worker", fetch="ranges"),
    Step("map read", "range worker", fetch="ranges"),
    Step("discovery round begun", "range worker", times=4, fetch="ranges"),
    Step("ranges requested", "range worker", times=4, fetch="ranges"),
    Step("images checked", "range worker", fetch="ranges"),
)
COMPLETE_SPARSE = (
    Step("range written", fetch="whole"),
    Step("range recorded", fetch="whole"),
    Step("part compared", fetch="whole"),
    Step("committing part", fetch="whole"),
    Step("part committed", fetch="whole"),
)
"""Only where ranges of a file have been downloaded, and the rest of it is wanted now."""
REUSE = (
    Step("previous folder read", "worker"),
    Step("file reused", "worker", times=2),
    Step("replacement begun"),
    Step("folders exchanged"),
    Step("unlisted entry moved"),
    Step("unlisted entries moved"),
    Step("old folder removed"),
)
"""Only where a published folder is replaced by one that holds more."""
WORKER = (
    Step("extraction begun", "worker"),
    Step("source opened", "worker"),
    Step("staging folder made", "worker"),
    Step("calibration extracted", "worker"),
    Step("images extracted", "worker"),
    Step("masks extracted", "worker"),
    Step("mp3 encoded", "worker"),
    Step("audio extracted", "worker"),
    Step("keypoints2d extracted", "worker"),
    Step("keypoints3d extracted", "worker"),
    Step("flame extracted", "worker"),
    Step("uv_textures extracted", "worker"),
    Step("scan extracted", "worker"),
    Step("scan_masks extracted", "worker"),
    Step("file written", "worker", times=2),
    Step("image checked", "worker", times=12),
    Step("new file written", "worker", times=12),
    Step("batch sent", "worker"),
    Step("batch received", "worker"),
    Step("copy processes ended", "worker"),
    Step("metadata written", "worker"),
    Step("files checked", "worker"),
    Step("file list written", "worker"),
    Step("sealing", "worker"),
    Step("files counted", "worker"),
    Step("marker written", "worker"),
    Step("sealed", "worker"),
)
STEPS = (*SERVICE, *WHOLE_DOWNLOAD, *RANGE_DOWNLOAD, *COMPLETE_SPARSE, *REUSE, *WORKER)
