"""The plan of a run, from settings, listing, ledger and disk; used by `run`, its dry run and `doctor`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rm360_async.budget import Budget, Space, SystemDisk
from rm360_async.config import Settings
from rm360_async.domain.errors import Fault
from rm360_async.domain.formatting import size_text
from rm360_async.domain.names import (
    Kind,
    Performance,
    kinds_needed,
    output_folder,
    remote_path,
)
from rm360_async.domain.record import Record, SourceFile
from rm360_async.domain.selection import SelectionPolicy, chooses_otherwise_now, selection_for
from rm360_async.domain.stage import FAILURES, Stage
from rm360_async.domain.state import Observed, PerformanceRow, PlannedState, decide_state
from rm360_async.domain.terms import Selector, expand, is_single_name, nearest_text, single_names, unmatched_terms
from rm360_async.download import spool
from rm360_async.download.ranges.estimate import Estimate, estimate_sizes
from rm360_async.download.rclone import RemoteListing
from rm360_async.store.marker import MARKER, read_record
from rm360_async.store.publish import is_marked_damaged, require_publishable
from rm360_async.store.replacement import names_text, unlisted_entries
from rm360_async.system.disk_threads import stop_if_cancelled, unreadable_reason

_MAX_PASSED_OVER_SHOWN = 5
_CHECK_REMOTE = "; check google_drive.structure and google_drive.root_folder_id"
UNFINISHED = (Stage.PENDING, Stage.WAITING)


@dataclass
class RunPlan:
    """The performances of a run, in the order in which it starts them; sizes in bytes."""

    states: dict[Performance, PlannedState] = field(default_factory=dict)
    sources: dict[Performance, tuple[SourceFile, ...]] = field(default_factory=dict)
    """The needed files that the remote lists."""
    remarks: list[str] = field(default_factory=list)
    """Messages for the user: parts of the selection that match nothing, folders that cannot be read."""
    incomplete: dict[Performance, Record] = field(default_factory=dict)
    """Published folders that lack selected cameras or modalities, with what they have; the run adds to them."""
    comparison_failed: set[Performance] = field(default_factory=set)
    """Published folders that could not be compared with the selection."""
    needs_cleanup: set[Performance] = field(default_factory=set)
    """Completed ones with downloaded files left: a run was killed between publishing and cleaning up."""
    estimates: dict[Performance, Estimate] = field(default_factory=dict)
    """What each fetch mode would download."""
    unobtainable: list[Performance] = field(default_factory=list)
    """Selected ones of which nothing that is asked for was released; they are in no other field."""
    other_cameras: list[Performance] = field(default_factory=list)
    """Published folders for which the selected set of cameras (ring:10) chose others than it would now."""
    notes: list[str] = field(default_factory=list)
    """What a user should know besides; like the warnings it does not change the exit code."""
    warnings: list[str] = field(default_factory=list)
    """What is asked for and was not released; it does not change the exit code."""
    forced: set[Performance] = field(default_factory=set)
    """Those whose folder is to be replaced, whatever is in it."""

    def too_large(self, settings: Settings) -> dict[Performance, str]:
        """Return the performances that can never fit into temp_dir, each with the reason; asks its disk."""
        limits, storage = settings.limits, settings.storage
        budget = Budget(storage.temp_dir, storage.output_dir, limits.max_temp_bytes, limits.min_free_bytes)
        sizes, total = self.download_sizes(settings.processing.fetch), budget.total_bytes()
        reasons = {each: budget.explain_too_large(size, total) for each, size in sizes.items()}
        return {each: reason for each, reason in reasons.items() if reason is not None}

    def obstacles(self, settings: Settings) -> dict[Performance, str]:
        """Return the unfinished performances that cannot be published, each with what is in the way."""
        reasons = {}
        for each in self.unfinished():
            try:
                self._require_publishable(settings, each)
            except Fault as fault:
                reasons[each] = str(fault)
        return reasons

    def replacement_lines(self, settings: Settings) -> list[str]:
        """Return a line for each unfinished performance that cannot be published, or whose folder holds other files."""
        lines = []
        for each in self.unfinished():
            try:
                self._require_publishable(settings, each)
                entries = unlisted_entries(output_folder(settings.storage.output_dir, each))
            except Fault as fault:
                lines.append(f"will fail: {each}: {fault}")
            else:
                what = f"{each} holds files that rm360 did not write, and keeps them when it is replaced"
                lines += [f"note: {what}: {names_text(entries)}"] if entries else []
        return lines

    def _require_publishable(self, settings: Settings, performance: Performance) -> None:
        final = output_folder(settings.storage.output_dir, performance)
        replace = performance in self.forced or performance in self.incomplete or is_marked_damaged(final)
        require_publishable(final, replace)

    def download_sizes(self, fetch_setting: str) -> dict[Performance, int]:
        """Return the bytes in temp_dir that each unfinished performance needs with this setting of processing.fetch."""
        return {each: self.estimates[each].staging_bytes(fetch_setting) for each in self.unfinished()}

    def bytes_to_download(self, settings: Settings) -> dict[Performance, int]:
        """Return the bytes that each unfinished performance has still to download; looks at what is in temp_dir."""
        spooled, fetch = spool.bytes_by_stem(settings.storage.temp_dir), settings.processing.fetch
        there = {each: sum(spooled.get(stem, 0) for stem in spool.stems_of(each)) for each in self.unfinished()}
        return {each: max(0, self.estimates[each].download_bytes(fetch) - there[each]) for each in there}

    def bytes_to_write(self) -> dict[Performance, int]:
        """Return the bytes that each unfinished performance will take in output_dir."""
        return {each: self.estimates[each].written_bytes for each in self.unfinished()}

    def unfinished(self) -> list[Performance]:
        """Return the performances that are still to be done, now or after a wait."""
        return [each for each, state in self.states.items() if state.stage in UNFINISHED]


def select_performances(settings: Settings, listing: RemoteListing) -> tuple[list[Performance], list[str]]:
    """Return the selected performances in order, and a remark for each part of the selection that matches nothing."""
    selected = settings.extraction
    listed: dict[str, list[Performance]] = {}
    for each in sorted(listing.files, key=lambda each: each.sort_key):
        listed.setdefault(each.subject, []).append(each)
    subjects = expand(selected.subjects, list(listed))
    remarks = _subject_remarks(selected.subjects, list(listed))
    performances: list[Performance] = []
    for subject in subjects:
        names = [each.name for each in listed.get(subject, ())]
        chosen = expand(selected.performances, names)
        if subject in selected.subjects:
            remarks += _performance_remarks(subject, selected.performances, names, listed)
        else:  # selected by a range or pattern: of such a subject only what the remote lists
            chosen = tuple(name for name in chosen if name in names)
        performances += [Performance(subject, name) for name in chosen]
    if subjects and not performances and not remarks:
        terms, every = " ".join(selected.performances), [each.name for each in listing.files]
        remarks.append(f"the remote lists no performance that matches {terms}{nearest_text(terms, every)}")
    return performances, remarks


def _subject_remarks(selector: Selector, listed: Sequence[str]) -> list[str]:
    """Return a remark for each range and pattern of subjects that matches nothing which the remote lists."""
    if not listed and single_names(selector) is None:
        return [f"the remote lists no subject at all{_CHECK_REMOTE}"]
    unmatched = [term for term in unmatched_terms(selector, listed) if not is_single_name(term)]
    return [f"the remote lists no subject that matches {term}{nearest_text(term, listed)}" for term in unmatched]


def _performance_remarks(
    subject: str, selector: Selector, names: Sequence[str], listed: Mapping[str, object]
) -> list[str]:
    """Return remarks on a subject that was selected by its name, of which the remote lists not all that is selected.

    Nothing is said about a full name: it fails if it is not there, unless it is published already.
    """
    if not names and single_names(selector) is None:
        nearest = nearest_text(subject, listed) if listed else _CHECK_REMOTE
        return [f"the remote lists nothing for subject {subject}{nearest}"]
    unmatched = [term for term in unmatched_terms(selector, names) if not is_single_name(term)]
    return [
        f"the remote lists no performance {term!r} for subject {subject}{nearest_text(term, names)}"
        for term in unmatched
    ]


def listing_remarks(listing: RemoteListing) -> list[str]:
    """Return remarks on what could not be listed, and on why selected subjects may be missing."""
    if not listing.passed_over:
        return list(listing.notes)
    count, examples = len(listing.passed_over), "; ".join(map(str, listing.passed_over[:_MAX_PASSED_OVER_SHOWN]))
    what = "1 entry" if count == 1 else f"{count} entries"
    remark = f"the remote does not list {what}, which may hold selected files; check links and permissions: {examples}"
    return [remark, *listing.notes]


def make_plan(
    settings: Settings,
    listing: RemoteListing,
    rows: Iterable[PerformanceRow],
    now: float,
    *,
    compare_published: bool = False,
) -> RunPlan:
    """Return the plan; performances that an earlier run began come first. `now` is in unix seconds.

    `compare_published`: the selection has changed, so every published folder is compared with it. Otherwise only
    those are that the ledger does not have as completed. It looks at a folder for each performance, so a task calls it
    on a disk thread.
    """
    performances, remarks = select_performances(settings, listing)
    plan = RunPlan(remarks=remarks + listing_remarks(listing))
    known = {row.performance: row for row in rows}
    spooled = spool.stems(settings.storage.temp_dir)
    rows_in_order = [known.get(each, PerformanceRow(each, Stage.PENDING)) for each in performances]
    for row in sorted(rows_in_order, key=lambda row: not _was_begun(row, spooled)):
        stop_if_cancelled()
        each = row.performance
        compare = compare_published or row.stage is not Stage.COMPLETED
        _plan_one(settings, listing, plan, row, now, compare_published=compare)
        if not _is_obtainable(settings, plan, each):
            plan.unobtainable.append(each)
            del plan.states[each], plan.sources[each]
        elif plan.states[each].stage is Stage.COMPLETED and _has_spooled_files(each, spooled):
            plan.needs_cleanup.add(each)
    _add_unmet(settings, plan)
    plan.notes += _missing_notes(plan, listing)
    if performances and single_names(settings.extraction.subjects) is None:
        names = [each.name for each in listing.files]
        plan.notes += [
            f"the remote lists no performance that matches {term}{nearest_text(term, names)}"
            for term in unmatched_terms(settings.extraction.performances, names)
        ]
    if plan.other_cameras:
        plan.notes.append(_other_cameras_note(settings, plan.other_cameras))
    return plan


def _missing_notes(plan: RunPlan, listing: RemoteListing) -> list[str]:
    """Return a note for each performance that was selected by its full name and is not on the remote."""
    missing = [each for each, state in plan.states.items() if state.stage in FAILURES and not listing.files.get(each)]
    names: dict[str, list[str]] = {}
    for each in listing.files:
        names.setdefault(each.subject, []).append(each.name)
    return [
        f"the remote lists no {each}{nearest_text(each.name, names[each.subject])}"
        for each in missing[:_MAX_PASSED_OVER_SHOWN]
        if each.subject in names
    ]


def _other_cameras_note(settings: Settings, performances: Iterable[Performance]) -> str:
    folders = names_text(sorted(map(str, performances)))
    return (
        f"{settings.extraction.cameras} chose other cameras for {folders} than it would now; these folders keep theirs"
        " (listed in the marker): write ids instead of the set, or extract them again with --force"
    )


def _is_obtainable(settings: Settings, plan: RunPlan, performance: Performance) -> bool:
    """Return True unless a download would give nothing that is asked for."""
    is_unfinished = plan.states[performance].stage in UNFINISHED
    return not is_unfinished or settings.selection_policy.is_obtainable(performance)


def _add_unmet(settings: Settings, plan: RunPlan) -> None:
    """Add the messages about what is asked for and was never released; if nothing else is selected, as remarks."""
    if plan.unobtainable:
        names = list(dict.fromkeys(each.name for each in plan.unobtainable))
        line = f"{names_text(names)}: nothing that is asked for was released, so nothing is downloaded"
        (plan.warnings if plan.states else plan.remarks).append(line)
    selected = sorted([*plan.states, *plan.unobtainable], key=lambda each: each.sort_key)
    plan.warnings += settings.selection_policy.unmet(selected)


def _plan_one(
    settings: Settings,
    listing: RemoteListing,
    plan: RunPlan,
    row: PerformanceRow,
    now: float,
    *,
    compare_published: bool,
) -> None:
    performance, policy, record = row.performance, settings.selection_policy, None
    observed = observe(settings, listing, performance, _kinds_for(policy, performance))
    if observed.published and compare_published:
        record = _incomplete_record(settings, plan, performance)
    if record is not None:
        kinds = _kinds_for(policy, performance, record)
        observed = replace(observe(settings, listing, performance, kinds), incomplete=True)
    state = decide_state(row, observed, now)
    plan.sources[performance], plan.states[performance] = observed.listed or (), state
    if row.forced:
        plan.forced.add(performance)
    if record is not None and state.stage is Stage.PENDING:
        plan.incomplete[performance] = record


def _kinds_for(policy: SelectionPolicy, performance: Performance, previous: Record | None = None) -> tuple[Kind, ...]:
    """Return which files are needed, including those of the data that a published folder already has."""
    return kinds_needed(policy.structure, selection_for(policy, performance, previous).modalities)


def _incomplete_record(settings: Settings, plan: RunPlan, performance: Performance) -> Record | None:
    """Return the record of a published folder that lacks selected data; None for any other."""
    cameras = settings.extraction.cameras
    try:
        record = read_record(output_folder(settings.storage.output_dir, performance))
    except Fault as fault:  # leave it as it is; the next run compares it again
        plan.comparison_failed.add(performance)
        plan.remarks.append(f"{performance} cannot be compared with the selection: {fault}")
        return None
    if chooses_otherwise_now(record, cameras):
        plan.other_cameras.append(performance)
    if isinstance(record, Record) and settings.selection_policy.is_lacking(performance, record):
        return record
    return None


def estimate_plan(
    settings: Settings, plan: RunPlan, ratios: Mapping[str, float], performances: Iterable[Performance]
) -> None:
    """Fill in the estimates of some performances; `ratios` are those that the ledger has learned."""
    policy = settings.selection_policy
    for each in performances:
        sources = plan.sources[each]
        selection = selection_for(policy, each, plan.incomplete.get(each), sources)
        size = sum(source.size for source in sources)
        plan.estimates[each] = estimate_sizes(policy.structure, each, selection, size, ratios)


@dataclass(frozen=True)
class StartProblem:
    """Why no performance could be started: the key of the folder in the config, what is wrong there, and the fix."""

    key: str
    message: str
    hint: str

    def __str__(self) -> str:
        return f"{self.key}: {self.message}: {self.hint}"


def start_problems(settings: Settings) -> list[StartProblem]:
    """Return what keeps every performance from being started: a folder that cannot be written, or a full disk.

    It changes nothing, so it asks for permissions, and does not try them as `rm360 doctor` does. Raises OSError.
    """
    problems, floor = [], settings.limits.min_free_bytes
    for key in ("output_dir", "temp_dir"):
        folder: Path = getattr(settings.storage, key)
        if reason := unreadable_reason(folder):
            problems.append(StartProblem(key, f"cannot read {folder}: {reason}", "check its mode, owner and mount"))
            continue
        if not os.access(existing := nearest_existing(folder), os.W_OK | os.X_OK):
            problems.append(StartProblem(key, f"cannot write to {existing}", "check its mode, owner and mount"))
        problems += [each for each in (space_problem(key, SystemDisk().space(folder), floor),) if each]
    return problems


def space_problem(key: str, space: Space, floor: int) -> StartProblem | None:
    """Return the problem of a disk that has not more than `floor` bytes free, which are kept free; None if it has."""
    if space.free_bytes > floor:
        return None
    kept = f"{size_text(floor)} are kept free (limits.min_free_space_gb)"
    message = f"{size_text(space.free_bytes)} free; {kept}: nothing could be downloaded"
    return StartProblem(key, message, "free some space, or lower limits.min_free_space_gb")


def nearest_existing(path: Path) -> Path:
    """Return the path, or its nearest parent that exists."""
    while not os.path.lexists(path) and path != path.parent:
        path = path.parent
    return path


def observe(settings: Settings, listing: RemoteListing, performance: Performance, kinds: Sequence[Kind]) -> Observed:
    """Return what the disk and the listing say of one performance, whose files of these kinds are needed."""
    files = listing.files.get(performance, {})
    structure = settings.google_drive.structure
    missing = tuple(remote_path(structure, performance, kind) for kind in kinds if kind not in files)
    listed = tuple(files[kind].source() for kind in kinds if kind in files)
    published = is_published(settings.storage.output_dir, performance)
    return Observed(published, listed, missing, unlisted=listing.why_unlisted(missing[0]) if missing else "")


def is_published(output_dir: Path, performance: Performance) -> bool:
    """Return True if the performance's final folder has a marker, of this tool or an earlier one."""
    # Called for thousands of performances: a string costs less than another Path.
    return os.path.lexists(f"{output_folder(output_dir, performance)}/{MARKER}")


def _was_begun(row: PerformanceRow, spooled: set[str]) -> bool:
    """Return True if an earlier run began the performance, and did not end it: it has files in temp_dir, or waits."""
    unfinished = row.stage is Stage.WAITING or (row.stage is Stage.PENDING and row.cause is not None)
    return unfinished or _has_spooled_files(row.performance, spooled)


def _has_spooled_files(performance: Performance, spooled: set[str]) -> bool:
    return any(stem in spooled for stem in spool.stems_of(performance))
