"""The settings of a run: frozen, typed, every value checked. One class for each section of config.yaml.

GB is 2**30 bytes and MB 2**20; the properties ending in `_bytes` give whole bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from rm360_async.config import parsers
from rm360_async.config.machine import MACHINE
from rm360_async.config.parsers import ConfigErrors
from rm360_async.domain.bandwidth import BandwidthLimit
from rm360_async.domain.errors import BadRequest
from rm360_async.domain.names import Modality, Structure, is_subject
from rm360_async.domain.notification import NotifyEvent
from rm360_async.domain.state import HOUR, MAX_WAIT_SECONDS
from rm360_async.domain.terms import ALL, PerformanceFilter, Selector

if TYPE_CHECKING:
    from rm360_async.domain.selection import SelectionPolicy

GB = 2**30
MB = 2**20

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def _to_structure(value: object) -> Structure:
    names = [structure.value for structure in Structure]
    if value not in names:
        raise ConfigErrors((None, f"{parsers.value_text(value)} is not a layout; write one of {', '.join(names)}"))
    return Structure(value)


def _to_level(value: object) -> str:
    if not isinstance(value, str) or value.upper() not in LEVELS:
        raise ConfigErrors((None, f"{parsers.value_text(value)} is not a log level; write one of {', '.join(LEVELS)}"))
    return value.upper()


def _to_path(value: object, info: ValidationInfo) -> Path:
    return parsers.to_path(info.context["folder"] if info.context else Path.cwd(), value)


def _default_beside_output(name: str) -> Callable[[Any, ValidationInfo], Path]:
    def path(value: object, info: ValidationInfo) -> Path:
        if value is not None:
            return _to_path(value, info)
        output_dir = info.data.get("output_dir")
        return output_dir.parent / name if output_dir else Path(name)

    return path


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class GoogleDrive(_Section):
    """Where the files come from: rclone remotes, the folder on Drive, and the layout of the release."""

    root_folder_id: Annotated[str, BeforeValidator(parsers.to_folder_id)] = ""
    remote_names: Annotated[tuple[str, ...], BeforeValidator(parsers.to_remote_names)] = ()
    remote_name: Annotated[str, BeforeValidator(lambda value: value and parsers.to_remote_name(value))] = Field(
        default="", validate_default=True
    )
    structure: Annotated[Structure, BeforeValidator(_to_structure)] = Structure.SINGLE

    @field_validator("remote_name")
    @classmethod
    def _require_remote(cls, value: str, info: ValidationInfo) -> str:
        if not value and info.data.get("remote_names") == ():
            raise ConfigErrors((None, 'missing; write the name of an rclone remote, such as "gdrive"'))
        return value

    @property
    def remotes(self) -> tuple[str, ...]:
        """Return every remote (account) to fetch from, `remote_name` first, each once."""
        named = (self.remote_name, *self.remote_names)
        return tuple(dict.fromkeys(name for name in named if name))


class Extraction(_Section):
    """The selection, as `domain.selectors` parses it."""

    subjects: Annotated[Selector, BeforeValidator(parsers.to_subjects)]
    performances: Annotated[Selector, BeforeValidator(parsers.to_performances)] = ALL
    cameras: Annotated[Selector, BeforeValidator(parsers.to_cameras)] = ALL
    modalities: Annotated[tuple[Modality, ...], BeforeValidator(parsers.to_modalities)] = tuple(Modality)

    @property
    def performance_filter(self) -> PerformanceFilter:
        """Return which performances are selected."""
        return PerformanceFilter(self.subjects, self.performances)


class Storage(_Section):
    """Absolute paths; by default all others are beside `output_dir`."""

    output_dir: Annotated[Path, BeforeValidator(_to_path)]
    temp_dir: Annotated[Path, BeforeValidator(_default_beside_output("temp"))] = Field(
        default=None, validate_default=True
    )
    manifest_path: Annotated[Path, BeforeValidator(_default_beside_output("MANIFEST.csv"))] = Field(
        default=None, validate_default=True
    )
    log_dir: Annotated[Path, BeforeValidator(_default_beside_output("logs"))] = Field(
        default=None, validate_default=True
    )
    metrics_path: Annotated[Path, BeforeValidator(_to_path)] | None = None
    keep_failed_gb: float = Field(default=50, ge=0, le=10_000_000)
    """The most that .smc files which could not be extracted may take in the quarantine; the oldest are removed."""

    @property
    def keep_failed_bytes(self) -> int:
        """Return the limit for failed files in the quarantine."""
        return int(self.keep_failed_gb * GB)

    @field_validator("temp_dir", "manifest_path", "log_dir", "metrics_path")
    @classmethod
    def _keep_out_of_subjects(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        """Raise ConfigErrors for a path at which a subject's folder is or will be, by the names alone.

        A config is read before the service is up, so this must not wait for a disk; see `require_separate_paths`.
        """
        output_dir = info.data.get("output_dir")
        if output_dir is not None and value is not None and _is_in_subject(value, output_dir, os.path.abspath):
            raise ConfigErrors((None, _IN_SUBJECT.format(value)))
        return value

    def require_separate_paths(self) -> None:
        """Raise BadRequest for a path at which a subject's folder is or will be, links followed; asks the disk."""
        for name in ("temp_dir", "manifest_path", "log_dir", "metrics_path"):
            path: Path | None = getattr(self, name)
            if path is not None and _is_in_subject(path, self.output_dir, os.path.realpath):
                raise BadRequest(f"storage.{name}: {_IN_SUBJECT.format(path)}")

    @field_validator("manifest_path")
    @classmethod
    def _keep_apart_from_ledger(cls, value: Path) -> Path:
        if value.suffix in (".sqlite", ".lock"):
            raise ConfigErrors((None, f'"{value.name}" is reserved for the ledger; end the name in .csv'))
        return value


_IN_SUBJECT = "{} is the path of a subject in output_dir; choose a folder beside output_dir"


def _is_in_subject(path: Path, output_dir: Path, resolve: Callable[[Path], str]) -> bool:
    inner, outer = Path(resolve(path)), Path(resolve(output_dir))
    return inner == outer or (outer in inner.parents and is_subject(inner.relative_to(outer).parts[0]))


class Processing(_Section):
    """How performances are downloaded and extracted."""

    delete_smc_after_extraction: bool = True
    verify_extraction: bool = True
    force_reextract: bool = False
    max_retries: int = Field(default=3, ge=0, le=100)
    retry_delay: float = Field(default=30, ge=0, le=86_400)
    """Seconds before the first retry; later retries wait longer."""
    connections: Annotated[int | None, BeforeValidator(parsers.to_count_or_auto)] = Field(default=None, ge=1, le=256)
    """Connections to each account at most; None (auto): as many as the line needs."""
    downloads: Annotated[int | None, BeforeValidator(parsers.to_count_or_auto)] = Field(default=None, ge=1, le=64)
    """Files open at once at most; None (auto): as few as the connections can use."""
    bandwidth: Annotated[BandwidthLimit | None, BeforeValidator(parsers.to_bandwidth)] = None
    """For all connections together; None: what RCLONE_BWLIMIT says, if it is set."""
    workers: int = Field(default=0, ge=0, le=512)
    """Extractions at once; 0 means one for each core."""
    fetch: Literal["auto", "whole", "ranges"] = "auto"
    """Download whole files, only the ranges that are needed, or whichever is cheaper for each performance."""
    damaged: Literal["publish", "fail"] = "publish"
    quota_wait_hours: float = Field(default=24, gt=0, le=MAX_WAIT_SECONDS / HOUR)
    grace_seconds: float = Field(default=120, ge=0, le=86_400)
    worker_memory_gb: float = Field(default=4, ge=0.25, le=4096)
    stall_seconds: float = Field(default=90, ge=1, le=86_400)
    extraction_minutes: float = Field(default=240, gt=0, le=10_080)
    """Deadline of one extraction: 74 GB (the largest pair) read and written at 10 MB/s."""

    @property
    def worker_count(self) -> int:
        """Return the number of extractions at once: `workers`, or the cores that the machine or container gives."""
        if self.workers:
            return self.workers
        return MACHINE.cores()

    @property
    def worker_memory_bytes(self) -> int:
        """Return the memory that one extraction may use."""
        return int(self.worker_memory_gb * GB)


class Limits(_Section):
    """How much disk space may be used."""

    max_temp_size_gb: float = Field(default=100, gt=0, le=10_000_000)
    min_free_space_gb: float = Field(default=50, ge=0, le=10_000_000)

    @property
    def max_temp_bytes(self) -> int:
        """Return the limit for downloaded files in temp_dir."""
        return int(self.max_temp_size_gb * GB)

    @property
    def min_free_bytes(self) -> int:
        """Return how much stays free on each disk."""
        return int(self.min_free_space_gb * GB)


class Logging(_Section):
    """What is logged, and where."""

    level: Annotated[str, BeforeValidator(_to_level)] = "INFO"
    console_output: bool = True
    max_file_size_mb: float = Field(default=100, ge=0.01, le=1_000_000)
    keep_days: float = Field(default=90, ge=0, le=100_000)
    """Log files that are older are removed when a run starts; 0 keeps all."""

    @property
    def max_file_bytes(self) -> int:
        """Return the size at which a log file is rotated."""
        return int(self.max_file_size_mb * MB)


class Notify(_Section):
    """A command of the user that is run when something happens to a run."""

    command: Annotated[tuple[str, ...], BeforeValidator(parsers.to_command)] = ()
    """A program and its arguments; empty for none."""
    on: Annotated[tuple[NotifyEvent, ...], BeforeValidator(parsers.to_events)] = tuple(NotifyEvent)


class Cluster(_Section):
    """One run on several machines: where its nodes find it, and what each of them may use; see cluster/README.md."""

    scheduler_file: Annotated[Path, BeforeValidator(_to_path)] | None = None
    """The file in which nodes find the address of the run, on a file system that all see; without it no cluster."""
    listen: Annotated[str, BeforeValidator(parsers.to_listen_address)] = "tls://127.0.0.1:0"
    tls: Annotated[Path, BeforeValidator(_to_path)] | None = None
    """The folder with ca.pem, node.pem and node.key; without it each run makes keys, on loopback."""
    temp_dir: str = ""
    """On each node: ~ and $VARIABLES are those of the node."""
    connections: Annotated[int | None, BeforeValidator(parsers.to_count_or_auto)] = Field(default=None, ge=1, le=256)
    """Connections of each node to each account at most; None (auto): as many as its line needs."""
    workers: int = Field(default=0, ge=0, le=512)
    """Extractions at once on each node; 0 means one for each of its cores."""
    lost_after_seconds: float = Field(default=60, ge=5, le=86_400)
    """A node that is silent for so long is lost; it is looked at once in such a time, so up to twice as late."""

    @property
    def is_used(self) -> bool:
        """Return True if the run is that of a cluster."""
        return self.scheduler_file is not None

    @property
    def is_on_loopback(self) -> bool:
        """Return True if only nodes on this machine can join."""
        return parsers.is_loopback(self.listen)

    @model_validator(mode="after")
    def _require_file_and_keys(self) -> Cluster:
        if self != Cluster.model_construct() and self.scheduler_file is None:
            raise ConfigErrors((None, "scheduler_file is missing; write the file in which nodes find the run"))
        if not self.is_on_loopback and self.tls is None:
            raise ConfigErrors((None, f"tls is missing, and {self.listen} needs keys; see `rm360 node --make-keys`"))
        return self


class Settings(_Section):
    """All settings, with defaults for those that the config does not give."""

    google_drive: GoogleDrive
    extraction: Extraction
    storage: Storage
    processing: Processing = Processing()
    limits: Limits = Limits()
    logging: Logging = Logging()
    notify: Notify = Notify()
    cluster: Cluster = Cluster()

    @property
    def selection_policy(self) -> SelectionPolicy:
        """Return what the config selects of each performance."""
        from rm360_async.domain.selection import SelectionPolicy  # brings numpy, which `status` does not need

        wanted = self.extraction
        return SelectionPolicy(
            wanted.subjects, wanted.performances, wanted.cameras, wanted.modalities, self.google_drive.structure
        )
