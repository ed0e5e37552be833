"""`rm360 ls`: what the remote of a config has, how much it is, and what of it is published."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rm360_async.config import Settings
from rm360_async.domain.errors import Fault
from rm360_async.domain.exit_code import ExitCode
from rm360_async.domain.formatting import size_text
from rm360_async.domain.names import Kind, Performance, Structure
from rm360_async.domain.record import RemoteFile
from rm360_async.domain.release import released_content
from rm360_async.domain.stage import Stage
from rm360_async.domain.terms import PerformanceFilter, single_names
from rm360_async.download.rclone import RemoteListing
from rm360_async.ledger import ledger_path, opened
from rm360_async.service.run_plan import is_published, listing_remarks
from rm360_async.service.startup import list_remote
from rm360_async.stages.remotes import connect
from rm360_async.system.disk_threads import on_disk_thread

_UNTOUCHED = "-"
"""The status of a performance that was neither begun nor published."""


@dataclass(frozen=True)
class ListedPerformance:
    """One performance on the remote: its files, and its status as the manifest has it."""

    performance: Performance
    files: Mapping[Kind, RemoteFile]
    status: str

    @property
    def bytes(self) -> int:
        """Return the size of its files on the remote."""
        return sum(file.size for file in self.files.values())


async def print_listing(settings: Settings, wanted: PerformanceFilter, level: str, as_json: bool) -> int:
    """Print what the remote has: `level` is subjects, performances or files; SOME_FAILED if it has none of `wanted`.

    `settings` list the subjects of `wanted`. What is wrong with the remote's folder or layout goes to standard error.
    """
    remote = connect(settings)[0]
    listing = await list_remote(settings, remote)
    if not listing.files and single_names(wanted.subjects):
        every = await remote.list_files(settings.google_drive.structure, None)  # for the nearest names
        listing = every if every.files else listing
    listed = await _with_status(settings, listing)
    selected = [each for each in listed if wanted.selects(each.performance)]
    text = _json(str(remote), selected) if as_json else _TEXTS[level](settings, selected)
    if selected or as_json:
        print(text)
    for line in _notes(str(remote), settings.google_drive.structure, listing, wanted):
        print(line, file=sys.stderr)
    return ExitCode.DONE if selected else ExitCode.SOME_FAILED


async def _with_status(settings: Settings, listing: RemoteListing) -> list[ListedPerformance]:
    status = await _ledger_status(settings)

    def look() -> list[ListedPerformance]:
        output_dir = settings.storage.output_dir
        return [
            ListedPerformance(each, listing.files[each], status.get(each) or _status_on_disk(output_dir, each))
            for each in sorted(listing.files, key=lambda each: each.sort_key)
        ]

    return await on_disk_thread(look)


def _status_on_disk(output_dir: Path, performance: Performance) -> str:
    return Stage.COMPLETED.value if is_published(output_dir, performance) else _UNTOUCHED


async def _ledger_status(settings: Settings) -> dict[Performance, str]:
    """Return the status of each performance in the ledger; nothing without one, with a note if it cannot be read."""
    path = settings.storage.manifest_path
    if not await on_disk_thread(ledger_path(path).exists):
        return {}
    try:
        async with opened(path) as (ledger, claims):
            rows = await ledger.rows(claims=claims)
    except Fault as fault:
        print(f"note: the ledger cannot be read: {fault}", file=sys.stderr)
        return {}
    return {row.performance: row.stage.value for row in rows}


def _notes(remote: str, structure: Structure, listing: RemoteListing, wanted: PerformanceFilter) -> list[str]:
    lines = [f"note: {remark}" for remark in listing_remarks(listing)]
    if not listing.files:
        lines.insert(0, f"{remote} lists no performance in the layout {structure.value}")
    lines += [f"note: {remark}" for remark in wanted.unmatched(listing.files)] if listing.files else []
    if listing.unrecognized:
        count, example = len(listing.unrecognized), listing.unrecognized[0]
        lines.append(f"note: {count} other .smc files are not where the layout has them, e.g. {example}")
    return lines


def _subjects_text(settings: Settings, listed: Iterable[ListedPerformance]) -> str:
    by_subject: dict[str, list[ListedPerformance]] = {}
    for each in listed:
        by_subject.setdefault(each.performance.subject, []).append(each)
    lines = [f"{'subject':<7}{'performances':>13}{'size':>9}{'published':>10}"]
    lines += [_counts(subject, entries) for subject, entries in by_subject.items()]
    if len(by_subject) > 1:
        lines.append(_counts(f"all {len(by_subject)}", [each for entries in by_subject.values() for each in entries]))
    return "\n".join(lines)


def _counts(name: str, entries: list[ListedPerformance]) -> str:
    published = sum(each.status == Stage.COMPLETED.value for each in entries)
    return f"{name:<7}{len(entries):>13}{size_text(sum(each.bytes for each in entries)):>9}{published:>10}"


def _performances_text(settings: Settings, listed: Iterable[ListedPerformance]) -> str:
    lines = [f"{'performance':<14}{'size':>9}  {'cameras':>7} {'status':<10}"]
    for each in listed:
        released = released_content(settings.google_drive.structure, each.performance.name)
        cameras = "" if released is None else str(len(released.cameras))
        lines.append(f"{each.performance!s:<14}{size_text(each.bytes):>9}  {cameras:>7} {each.status:<10}".rstrip())
    return "\n".join(lines)


def _files_text(settings: Settings, listed: Iterable[ListedPerformance]) -> str:
    blocks = []
    for each in listed:
        lines = [f"{each.performance}: {each.status.replace(_UNTOUCHED, 'not published')}"]
        for file in each.files.values():
            lines += [f"  {file.path}", f"    {size_text(file.size)} ({file.size} bytes)"]
            lines += [f"    modified {file.modified}"] if file.modified else []
            lines += [f"    md5 {file.md5}"] if file.md5 else []
            lines += ["    there are several files of this path, so it is not downloaded"] if file.duplicate else []
        blocks.append("\n".join(lines))
    return "\n".join(blocks)


_TEXTS = {"subjects": _subjects_text, "performances": _performances_text, "files": _files_text}


def _json(remote: str, listed: Iterable[ListedPerformance]) -> str:
    performances = {
        str(each.performance): {
            "bytes": each.bytes,
            "status": None if each.status == _UNTOUCHED else each.status,
            "files": [
                {"path": file.path, "size": file.size, "md5": file.md5, "modified": file.modified}
                for file in each.files.values()
            ],
        }
        for each in listed
    }
    return json.dumps({"remote": remote, "performances": performances}, indent=1)
