"""The named steps of the walk of a performance, at which runs are killed: before each, and after it.

A step is a function of the service, of its worker, or of the scout that fetches ranges. `calls` is how often it
is called at least while one performance goes its way (the kill comes at one of these calls).
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

Hook = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """One function of the walk; `only` says when the kill can come ("" for before and after).

    `way` is the value of processing.fetch that it needs ("" for any).
    """

    name: str
    at: str
    side: str = "service"
    calls: int = 1
    only: str = ""
    way: str = ""

    def hook(self, random: Random, do: str) -> Hook:
        """Return the hook that does something before or after it."""
        when = self.only or random.choice(("before", "after"))
        return {"at": self.at, "side": self.side, "when": when, "call": random.randint(1, self.calls), "do": do}


_LEDGER = "rm360_async.ledger.ledger:Ledger"
_RUNS = "rm360_async.ledger.runs:Runs"
_HINTS = "rm360_async.ledger.hints:Hints"
_CLAIMS = "rm360_async.ledger.claims:Claims"
_TICKETS = "rm360_async.budget.ticket_queue:Tickets"
_REMOTE = "rm360_async.download.rclone.remote"
_SEALING = "rm360_async.store.seal"
_FOLDER = "rm360_async.store.staging:StagingFolder"
_RANGING = "rm360_async.download.range_downloader:RangeDownloader"
_SPARSE = "rm360_async.system.sparse_file:SparseFile"

SERVICE = (
    Step("run noted", f"{_RUNS}.begin"),
    Step("remote listed", f"{_REMOTE}:Remote.listing"),
    Step("performances entered", f"{_LEDGER}.add"),
    Step("books put where they stand", f"{_LEDGER}.apply_plan"),
    Step("selection remembered", f"{_HINTS}.set_meta"),
    Step("claim taken", f"{_CLAIMS}.claim", calls=2),
    Step("attempt begun", "rm360_async.ledger.attempts:Attempts.begin"),
    Step("stage noted", f"{_LEDGER}.move", calls=4),
    Step("file looked up", f"{_REMOTE}:Remote.stat"),
    Step("source noted", f"{_LEDGER}.record_listing"),
    Step("lease asked for", f"{_TICKETS}.add"),
    Step("lease granted", f"{_TICKETS}.grant"),
    Step("extraction", "rm360_async.stages.stages:Stages.extract"),
    Step("publication", "rm360_async.store.publish:publish"),
    Step("rename", "rm360_async.system.linux:rename"),
    Step("folder synced", f"{_SEALING}:sync", calls=2),
    Step("output size learned", f"{_HINTS}.record_ratio"),
    Step("ledger told", f"{_LEDGER}.record_completed"),
    Step(".smc removed", "rm360_async.download.spool:remove"),
    Step("lease given back", f"{_TICKETS}.drop"),
    Step("claim given back", f"{_CLAIMS}.release"),
    Step("manifest written", "rm360_async.ledger.manifest_csv:write_manifest"),
    Step("manifest in its place", "rm360_async.ledger.manifest_csv:_put_in_place"),
    Step("summary", "rm360_async.service.end_summary:summary_lines"),
    Step("end of the run noted", f"{_RUNS}.end"),
)
WHOLE = (
    Step("ledger made", "rm360_async.ledger.schema:create"),
    Step("part opened", "rm360_async.download.rclone.transfer:open_part", only="before"),
    Step("bytes of a download", "rm360_async.download.rclone.transfer:run_download"),
    Step("md5 compared", f"{_REMOTE}:_compared"),
    Step("whole file staged", "rm360_async.download.spool:commit_part"),
)
RANGES = (
    Step("ranges begun", f"{_RANGING}.fetch", way="ranges"),
    Step("remote served", "rm360_async.download.rclone.server:serve_remote", only="before", way="ranges"),
    Step("ranges brought", "rm360_async.download.ranges.worker_client:RangeWorkerClient.run", way="ranges"),
    Step("found unchanged", f"{_RANGING}._require_unchanged", way="ranges"),
)
SCOUT = (
    Step("sparse file opened", f"{_SPARSE}.__init__", "scout", way="ranges"),
    Step("map read", f"{_SPARSE}._read_map", "scout", way="ranges"),
    Step("index looked for", "rm360_async.download.ranges.discovery:discover_ranges", "scout", calls=4, way="ranges"),
    Step(
        "ranges asked for", "rm360_async.download.ranges.range_client:RangeClient.fetch", "scout", calls=4, way="ranges"
    ),
    Step("range kept", f"{_SPARSE}.write", "scout", calls=12, way="ranges"),
    Step("pictures judged", "rm360_async.download.ranges.discovery:find_broken_spans", "scout", way="ranges"),
    Step("connections closed", "rm360_async.download.ranges.range_client:RangeClient.close", "scout", way="ranges"),
)
FILLING = (
    Step("filled file settled", f"{_RANGING}._settle", way="whole"),
    Step("filled file staged", "rm360_async.download.spool:commit_part", way="whole"),
)
COMPLETING = (
    Step("published folder read", "rm360_async.extraction.previous:PreviousFolder.of", "worker"),
    Step("file taken over", f"{_FOLDER}.link", "worker", calls=4),
    Step("folders exchanged", "rm360_async.store.publish:_exchange"),
    Step("old folder removed", "rm360_async.store.staging:remove_tree"),
)
WORKER = (
    Step("extraction begun", "rm360_async.extraction.extract:extract", "worker", only="before"),
    Step("source opened", "rm360_async.smc.pair:SmcPair.__init__", "worker"),
    Step("staging folder made", f"{_FOLDER}.__init__", "worker"),
    Step("calibration", "rm360_async.extraction.modalities.calibration:extract", "worker"),
    Step("images", "rm360_async.extraction.modalities.images:extract_images", "worker"),
    Step("masks", "rm360_async.extraction.modalities.images:extract_masks", "worker"),
    Step("audio", "rm360_async.extraction.modalities.audio:extract", "worker"),
    Step("mp3", "rm360_async.extraction.modalities.audio:_mp3", "worker"),
    Step("keypoints2d", "rm360_async.extraction.modalities.keypoints:extract_2d", "worker"),
    Step("keypoints3d", "rm360_async.extraction.modalities.keypoints:extract_3d", "worker"),
    Step("flame", "rm360_async.extraction.modalities.flame:extract", "worker"),
    Step("uv_textures", "rm360_async.extraction.modalities.images:extract_uv_textures", "worker"),
    Step("scan", "rm360_async.extraction.modalities.scan:extract", "worker"),
    Step("scan_masks", "rm360_async.extraction.modalities.images:extract_scan_masks", "worker"),
    Step("a file written", f"{_FOLDER}.write", "worker", calls=3),
    Step("a picture taken", "rm360_async.extraction.copy_processes:copy_blob", "worker", calls=12),
    Step("a picture written", "rm360_async.store.file_writer:NewFiles.write", "worker", calls=12),
    Step("pictures handed out", "rm360_async.extraction.copy_processes:Copiers.send", "worker"),
    Step("pictures taken back", "rm360_async.extraction.copy_processes:Copiers.take", "worker"),
    Step("copying processes ended", "rm360_async.extraction.copy_processes:Copiers.stop", "worker"),
    Step("metadata", "rm360_async.extraction.metadata:write_metadata", "worker"),
    Step("files compared", "rm360_async.extraction.check:verify", "worker"),
    Step("list of files", f"{_FOLDER}.write_list", "worker"),
    Step("files counted", f"{_SEALING}:_check_files", "worker"),
    Step("marker written", f"{_SEALING}:_write_new", "worker"),
    Step("all synced", "rm360_async.system.linux:sync_file_system", "worker"),
    Step("sealed", f"{_SEALING}:seal", "worker"),
)
STEPS = (*SERVICE, *WHOLE, *RANGES, *SCOUT, *FILLING, *COMPLETING, *WORKER)
