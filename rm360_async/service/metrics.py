"""Figures for Prometheus in a text file (node_exporter's textfile collector), replaced in one step."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

from rm360_async import __version__
from rm360_async.service.snapshot import Snapshot
from rm360_async.system.log import logger

log = logger(__name__)


class Metrics:
    """The figures of one run; base units (bytes, seconds), no label that grows with the dataset."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._registry = CollectorRegistry()
        self._performances = self._gauge("performances", "performances of this run", ["state"])
        self._in_hand = self._gauge("in_hand", "performances in hand", ["stage"])
        self._fetched = self._gauge("download_bytes", "bytes fetched since the run began")
        self._rate = self._gauge("download_bytes_per_second", "download rate of the last two minutes")
        self._left = self._gauge("left_bytes", "bytes still to be fetched")
        self._free = self._gauge("disk_free_bytes", "free bytes in output_dir")
        self._due = self._gauge("next_due_timestamp_seconds", "when the first waiting performance is due, 0 if none")
        self._at = self._gauge("last_update_timestamp_seconds", "when these figures were written")
        self._gauge("build_info", "the version", ["version"]).labels(__version__).set(1)
        self._told = False

    def _gauge(self, name: str, text: str, labels: list[str] | None = None) -> Gauge:
        return Gauge(f"rm360_{name}", text, labels or [], registry=self._registry)

    def write(self, snapshot: Snapshot) -> None:
        """Write the figures; a failure is logged once and stops nothing."""
        states = ("planned", "completed", "failed", "waiting", "pending", "elsewhere")
        for state in states:
            self._performances.labels(state).set(getattr(snapshot, state))
        for stage in ("downloading", "downloaded", "extracting", "publishing"):
            self._in_hand.labels(stage).set(sum(each.stage == stage for each in snapshot.in_hand))
        self._fetched.set(snapshot.fetched)
        self._rate.set(snapshot.rate)
        self._left.set(snapshot.left)
        self._free.set(snapshot.free or 0)
        self._due.set(snapshot.next_due or 0)
        self._at.set(snapshot.at)
        try:
            write_to_textfile(str(self._path), self._registry)
            self._told = False
        except OSError as error:
            if not self._told:
                log.warning(f"the metrics cannot be written to {self._path}: {error.strerror}")
            self._told = True
