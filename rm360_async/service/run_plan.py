"""From settings, listing, ledger and disk to the work of a run; shared by `run` and its dry run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rm360_async.budget import Budget
from rm360_async.config import Settings
from rm360_async.domain.errors import Fault
from rm360_async.domain.names import (
    Kind,
    Performance,
    file_name,
    is_pattern,
    kinds_needed,
    matches_any,
    output_folder,
    remote_path,
)
from rm360_async.domain.record import Record, SourceFile
from rm360_async.domain.selection import SelectionPolicy, selection_for
from rm360_async.domain.stage import Stage
from rm360_async.domain.state import Observed, PerformanceRow, PlannedState, decide_state
from rm360_async.download import spool
from rm360_async.download.ranges.estimate import Estimate, estimate_sizes
from rm360_async.download.rclone import RemoteListing
from rm360_async.store import MARKER
from rm360_async.store.marker import record_of


@dataclass
class RunPlan:
    """The performances of a run in order, where each stands, the files listed for it, and what to tell."""

    standings: dict[Performance, PlannedState] = field(default_factory=dict)
    sources: dict[Performance, tuple[SourceFile, ...]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    completing: dict[Performance, Record] = field(default_factory=dict)
    """Published ones that lack cameras or modalities wanted by now, and what they have."""
    uncompared: set[Performance] = field(default_factory=set)
    """Published ones of which nobody can tell what they have."""
    untidy: set[Performance] = field(default_factory=set)
    """Completed ones with bytes still in staging, because a run was killed between publishing and clearing."""
    foreseen: dict[Performance, Estimate] = field(default_factory=dict)
    """What each way of fetching would cost."""

    def too_large(self, settings: Settings) -> dict[Performance, str]:
        """Return why each of those fails that staging can never hold."""
        limits, storage = settings.limits, settings.storage
        budget = Budget(storage.temp_dir, storage.output_dir, limits.max_temp_bytes, limits.min_free_bytes)
        staged = {each: self.foreseen[each].staging_bytes(settings.processing.fetch) for each in self.open()}
        reasons = {each: budget.impossible(size) for each, size in staged.items()}
        return {each: reason for each, reason in reasons.items() if reason is not None}

    def open(self) -> list[Performance]:
        """Return the performances that are still to be done."""
        return [each for each, place in self.standings.items() if place.stage in (Stage.PENDING, Stage.WAITING)]


def choose(settings: Settings, listing: RemoteListing) -> tuple[list[Performance], list[str]]:
    """Return the wanted performances in order, and a remark for each wish that names nothing."""
    wanted = settings.extraction
    listed: dict[str, list[Performance]] = {}
    for each in sorted(listing.files, key=lambda each: each.sort_key):
        listed.setdefault(each.subject, []).append(each)
    subjects = list(listed) if isinstance(wanted.subjects, str) else wanted.subjects
    patterns = ("*",) if isinstance(wanted.performances, str) else wanted.performances
    chosen: dict[Performance, None] = {}
    look = "" if listed else "; check google_drive.structure and the folder"
    remarks = [] if subjects else [f"the remote lists no subject at all{look}"]
    for subject in subjects:
        for pattern in patterns:
            named = [each for each in listed.get(subject, ()) if matches_any(each.name, [pattern])]
            if pattern != "*" and not is_pattern(pattern):
                named = [Performance(subject, pattern)]
            if not named and not isinstance(wanted.subjects, str):
                what = "nothing" if pattern == "*" else f"no performance {pattern!r}"
                remarks.append(f"the remote lists {what} for subject {subject}{look}")
            chosen.update(dict.fromkeys(named))
    if subjects and not chosen and not remarks:
        remarks.append(f"the remote lists no performance that fits {', '.join(patterns)}")
    return list(chosen), remarks


def make_plan(
    settings: Settings, listing: RemoteListing, rows: Iterable[PerformanceRow], now: float, *, look_closer: bool = False
) -> RunPlan:
    """Return where every wanted performance stands; what has bytes in staging comes first.

    `look_closer`: another selection was wanted before, so every published folder is asked whether it has all of
    this one. Else only those are that the ledger does not count as completed.
    """
    plan = RunPlan()
    chosen, plan.remarks = choose(settings, listing)
    known = {row.performance: row for row in rows}
    policy = settings.selection_policy
    kinds = kinds_needed(settings.google_drive.structure, settings.extraction.modalities)
    begun = spool.stems(settings.storage.temp_dir)
    for each in sorted(chosen, key=lambda each: not _is_begun(each, begun)):
        row = known.get(each, PerformanceRow(each, Stage.PENDING))
        evidence = find_evidence(settings, listing, each, kinds)
        record = None
        if evidence.published and (look_closer or row.stage is not Stage.COMPLETED):
            try:
                record = incomplete(settings, each)
            except Fault as fault:  # it is left as it is, told, and compared again by the next run
                plan.uncompared.add(each)
                plan.remarks.append(f"{each} cannot be compared with what is wanted: {fault}")
        if record is not None:
            evidence = replace(find_evidence(settings, listing, each, _kinds(policy, each, record)), incomplete=True)
        plan.sources[each] = evidence.listed or ()
        plan.standings[each] = decide_state(row, evidence, now)
        if record is not None and plan.standings[each].stage is Stage.PENDING:
            plan.completing[each] = record
        if plan.standings[each].stage is Stage.COMPLETED and _is_begun(each, begun):
            plan.untidy.add(each)
    return plan


def estimate_plan(
    settings: Settings, plan: RunPlan, learned: Mapping[str, float], chosen: Iterable[Performance]
) -> None:
    """Fill in what each way of fetching would cost for some performances of the plan."""
    policy = settings.selection_policy
    for each in chosen:
        record, sources = plan.completing.get(each), plan.sources[each]
        selection, size = selection_for(policy, each, record, sources), sum(source.size for source in sources)
        plan.foreseen[each] = estimate_sizes(policy.structure, each, selection, size, learned)


def _kinds(policy: SelectionPolicy, performance: Performance, previous: Record) -> tuple[Kind, ...]:
    """Return which files are needed, those included that what the published folder has came from."""
    return kinds_needed(policy.structure, selection_for(policy, performance, previous).modalities)


def find_evidence(
    settings: Settings, listing: RemoteListing, performance: Performance, kinds: Sequence[Kind]
) -> Observed:
    """Return what the disk and the listing say of one performance."""
    files = listing.files.get(performance, {})
    structure = settings.google_drive.structure
    lacking = tuple(remote_path(structure, performance, kind) for kind in kinds if kind not in files)
    listed = tuple(files[kind].source() for kind in kinds if kind in files)
    return Observed(is_published(settings.storage.output_dir, performance), listed, lacking)


def is_published(output_dir: Path, performance: Performance) -> bool:
    """Tell whether the performance's final folder has a marker, ours or an earlier tool's."""
    return os.path.lexists(f"{output_folder(output_dir, performance)}/{MARKER}")  # of thousands: no Path more than one


def incomplete(settings: Settings, performance: Performance) -> Record | None:
    """Return what a published folder has that lacks something wanted by now, None for any other; Fault IN_THE_WAY."""
    record = record_of(output_folder(settings.storage.output_dir, performance))
    return record if isinstance(record, Record) and settings.selection_policy.is_lacking(performance, record) else None


def _is_begun(performance: Performance, begun: set[str]) -> bool:
    return any(file_name(performance, kind).removesuffix(".smc") in begun for kind in Kind)
