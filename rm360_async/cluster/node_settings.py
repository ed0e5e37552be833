"""The settings of a run as its nodes get them: those that downloads and extractions depend on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from rm360_async.config import Settings
from rm360_async.domain.bandwidth import BandwidthLimit
from rm360_async.domain.errors import BadRequest

_PROCESSING = (
    *("delete_smc_after_extraction", "verify_extraction", "fetch", "damaged"),
    *("max_retries", "retry_delay", "quota_wait_hours", "grace_seconds"),
    *("worker_memory_gb", "stall_seconds", "extraction_minutes"),
)


def settings_values(settings: Settings) -> dict[str, Any]:
    """Return the settings that a node needs as plain values."""
    drive, processing, cluster = settings.google_drive, settings.processing, settings.cluster
    limit = processing.bandwidth
    return {
        "google_drive": {
            "remote_name": drive.remotes[0],
            "remote_names": list(drive.remotes),
            "root_folder_id": drive.root_folder_id,
            "structure": drive.structure.value,
        },
        "output_dir": str(settings.storage.output_dir),
        "log_dir": str(settings.storage.log_dir),
        "temp_dir": cluster.temp_dir,
        "keep_failed_gb": settings.storage.keep_failed_gb,
        "processing": {name: getattr(processing, name) for name in _PROCESSING}
        | {"workers": cluster.workers, "connections": cluster.connections, "downloads": processing.downloads},
        "bandwidth": None if limit is None else [list(entry) for entry in limit.entries],
        "limits": settings.limits.model_dump(),
        "logging": settings.logging.model_dump(),
    }


def node_settings(values: Mapping[str, Any], temp_dir: str | None, downloads: int | None) -> Settings:
    """Return the settings that `settings_values` made these values of; `temp_dir` and `downloads` are this node's own.

    Raises BadRequest without a temp_dir.
    """
    folder = os.path.expandvars(os.path.expanduser(temp_dir or values["temp_dir"]))  # noqa: PTH111 - of a text
    if not folder or "$" in folder:
        reason = f"{folder} has a variable that this node does not know" if folder else "there is none"
        raise BadRequest(f"no folder for downloads on this node: {reason}; give --temp-dir, or cluster.temp_dir")
    processing, bandwidth = dict(values["processing"]), values["bandwidth"]
    if bandwidth is not None:
        processing["bandwidth"] = BandwidthLimit(tuple((minute, rate) for minute, rate in bandwidth))
    if downloads is not None:
        processing["downloads"] = downloads
    storage = {name: values[name] for name in ("output_dir", "log_dir", "keep_failed_gb")} | {"temp_dir": folder}
    sections = {
        "google_drive": values["google_drive"],
        "extraction": {"subjects": "all"},
        "storage": storage,
        "processing": processing,
        "limits": values["limits"],
        "logging": values["logging"],
    }
    return Settings.model_validate(sections)
