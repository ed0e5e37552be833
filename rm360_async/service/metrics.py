"""Metrics for Prometheus in a text file (for node_exporter's textfile collector), replaced in one step."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from rm360_async import __version__
from rm360_async.service.snapshot import Snapshot
from rm360_async.system.files import remove_temporary_files, write_atomically
from rm360_async.system.log import logger

log = logger(__name__)
_STATES = ("planned", "completed", "failed", "waiting", "pending", "elsewhere")
_ACTIVE_STAGES = ("downloading", "downloaded", "extracting", "publishing")


class Metrics:
    """The metrics of one run, in base units (bytes, seconds); no label grows with the dataset."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._registry = CollectorRegistry()
        self._performances = self._gauge("performances", "performances of this run", ["state"])
        self._active = self._gauge("in_hand", "performances being processed", ["stage"])
        self._fetched = self._gauge("download_bytes", "bytes downloaded since the run began")
        self._rate = self._gauge("download_bytes_per_second", "download rate of the last two minutes")
        self._left = self._gauge("left_bytes", "bytes still to be downloaded")
        self._free = self._gauge("disk_free_bytes", "free bytes in output_dir")
        self._due = self._gauge("next_due_timestamp_seconds", "when the first waiting performance is due, 0 if none")
        self._updated = self._gauge("last_update_timestamp_seconds", "when these metrics were written")
        self._gauge("build_info", "the version", ["version"]).labels(__version__).set(1)
        self._failure_logged, self._has_swept = False, False

    def _gauge(self, name: str, text: str, labels: list[str] | None = None) -> Gauge:
        return Gauge(f"rm360_{name}", text, labels or [], registry=self._registry)

    def write(self, snapshot: Snapshot) -> None:
        """Write the metrics; log a failure once, and let the run go on."""
        for state in _STATES:
            self._performances.labels(state).set(getattr(snapshot, state))
        for stage in _ACTIVE_STAGES:
            self._active.labels(stage).set(sum(each.stage == stage for each in snapshot.in_hand))
        self._fetched.set(snapshot.fetched)
        self._rate.set(snapshot.rate)
        self._left.set(snapshot.left)
        self._free.set(snapshot.free or 0)
        self._due.set(snapshot.next_due or 0)
        self._updated.set(snapshot.at)
        self._write_file()

    def _write_file(self) -> None:
        try:
            if not self._has_swept:
                remove_temporary_files(self._path)
                self._has_swept = True
            write_atomically(self._path, generate_latest(self._registry), durable=False)
            self._failure_logged = False
        except OSError as error:
            if not self._failure_logged:
                log.warning(f"cannot write the metrics to {self._path}: {error.strerror}")
            self._failure_logged = True
