"""Jobs, records and faults as plain values, those of JSON: what the coordinator and its nodes exchange."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Kind, Modality, Performance
from rm360_async.domain.record import EarlierRecord, Record, RemoteFile, RemoteFolder, SourceFile
from rm360_async.domain.selection import FetchMode, Selection
from rm360_async.pipeline.job import Job
from rm360_async.store.marker import parse_marker

Values = dict[str, Any]
RESERVE, DOWNLOAD, EXTRACT = "reserve", "download", "extract"
"""The steps that a node does for a job, in their order."""
PUBLISHED, FAILED = "published", "failed"
"""How a job has ended, for the files that it has in the spool of a node."""


def fault_values(fault: Fault) -> Values:
    """Return a fault as plain values."""
    return {"cause": fault.cause.code, "message": fault.message, "hint": fault.hint, "until": fault.until}


def fault_from(values: Mapping[str, Any]) -> Fault:
    """Return the fault that `fault_values` made these values of."""
    return Fault(Cause.from_code(values["cause"]), values["message"], values["hint"], until=values["until"])


def record_from(values: Mapping[str, Any]) -> Record:
    """Return the record whose `asdict` these values are. Raises Fault(UNKNOWN) for those of another version."""
    record = parse_marker(json.dumps(values))
    if isinstance(record, EarlierRecord):
        raise Fault(Cause.UNKNOWN, "the node returned a record of another version", "install one version on all nodes")
    return record


def performance_from(text: str) -> Performance:
    """Return the performance of a text such as 0018/s1_all."""
    return Performance(*text.split("/", 1))


def job_values(job: Job) -> Values:
    """Return what a node needs to know of a job to begin or to continue it."""
    has_cameras, has_modalities = job.selection.has
    return {
        "performance": str(job.performance),
        "target": str(job.target),
        "previous": None if job.previous is None else asdict(job.previous),
        "cameras": job.selection.cameras,
        "modalities": [each.value for each in job.selection.modalities],
        "has": [sorted(has_cameras), [each.value for each in has_modalities]],
        "files": {kind.value: asdict(file) for kind, file in job.remote_files.items()},
        "sources": {kind.value: asdict(source) for kind, source in job.sources.items()},
        **progress_values(job),
    }


def fill_job(job: Job, values: Mapping[str, Any]) -> None:
    """Fill a node's job with the values that `job_values` made of the coordinator's."""
    job.target = Path(values["target"])
    job.previous = None if values["previous"] is None else record_from(values["previous"])
    cameras, modalities = values["has"]
    job.selection = Selection(
        values["cameras"] if isinstance(values["cameras"], str) else tuple(values["cameras"]),
        tuple(Modality(each) for each in values["modalities"]),
        (tuple(cameras), tuple(Modality(each) for each in modalities)),
    )
    job.remote_files = {Kind(kind): _file(each) for kind, each in values["files"].items()}
    job.sources = {Kind(kind): SourceFile(**each) for kind, each in values["sources"].items()}
    job.fetch_mode, job.needs_whole = FetchMode(values["fetch_mode"]), values["needs_whole"]


def progress_values(job: Job) -> Values:
    """Return how the files of a job are downloaded, which is found out on the node."""
    return {"fetch_mode": job.fetch_mode.value, "needs_whole": job.needs_whole}


def outcome_values(job: Job) -> Values:
    """Return what a step may have changed of a node's job."""
    return {
        "sources": {kind.value: asdict(source) for kind, source in job.sources.items()},
        "spooled": {kind.value: str(path) for kind, path in job.spooled.items()},
        "spooled_bytes": job.spooled_bytes,
        "spool_need": job.spool_need,
        "staging": None if job.staging_dir is None else str(job.staging_dir),
        **progress_values(job),
    }


def apply_outcome(job: Job, values: Mapping[str, Any]) -> None:
    """Apply what a step has changed on the node to the coordinator's job."""
    job.sources = {Kind(kind): SourceFile(**each) for kind, each in values["sources"].items()}
    job.spooled = {Kind(kind): Path(path) for kind, path in values["spooled"].items()}
    job.spooled_bytes, job.spool_need = values["spooled_bytes"], values["spool_need"]
    job.fetch_mode, job.needs_whole = FetchMode(values["fetch_mode"]), values["needs_whole"]
    job.staging_dir = None if values["staging"] is None else Path(values["staging"])


def _file(values: Mapping[str, Any]) -> RemoteFile:
    folder = values["folder"]
    return RemoteFile(**{**values, "folder": None if folder is None else RemoteFolder(**folder)})
