"""The rules of a cluster, without processes: placement, losses, joining, limits, and what is exchanged."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_cluster_config import settings_of

from rm360_async.cluster.join import JoinCheck, own_versions
from rm360_async.cluster.keys import new_keys
from rm360_async.cluster.losses import MAX_FAILURES, Losses, fault_of_node, note_failure, note_success
from rm360_async.cluster.members import Member, choose_member, open_slots
from rm360_async.cluster.node_settings import node_settings, settings_values
from rm360_async.cluster.scheduler_file import CoordinatorAddress, read_scheduler_file, why_no_run, write_scheduler_file
from rm360_async.cluster.shared_limits import SharedLimits
from rm360_async.cluster.values import (
    Values,
    apply_outcome,
    fault_from,
    fault_values,
    fill_job,
    job_values,
    outcome_values,
)
from rm360_async.config import Settings
from rm360_async.domain.clock import SYSTEM_CLOCK, Clock
from rm360_async.domain.errors import BadRequest, Cause, Fault
from rm360_async.domain.names import Kind, Modality, Performance
from rm360_async.domain.record import RemoteFile, RemoteFolder
from rm360_async.domain.retry import RetryPolicy, decide_retry
from rm360_async.domain.selection import FetchMode, Selection
from rm360_async.domain.stage import Stage
from rm360_async.domain.state import PerformanceRow
from rm360_async.pipeline.job import Job

A, B, C = (Performance("0018", name) for name in ("e0", "e1", "s1_all"))
NOW = 1000.0


def member(name: str, slots: int = 2, **more: Any) -> Member:
    return Member(f"tcp://{name}", name, slots, **more)


# --- placement


def test_a_job_goes_to_the_node_with_the_most_free_slots_then_to_the_most_free_disk() -> None:
    busy, small, large = member("busy", downloading={A}), member("small", free_bytes=1), member("large", free_bytes=9)
    assert choose_member(B, [busy, small, large], NOW) == (large, False)


def test_a_job_goes_to_the_node_that_has_its_bytes_and_waits_for_it() -> None:
    holder, other = member("holder", slots=1, spooled={A: 5}), member("other")
    assert choose_member(A, [other, holder], NOW) == (holder, False)
    holder.downloading.add(B)
    assert choose_member(A, [other, holder], NOW) == (None, True)
    assert choose_member(C, [other, holder], NOW) == (other, False), "others do not wait"


def test_a_node_whose_line_is_full_gets_two_downloads() -> None:
    full, roomy = member("full", slots=8, has_room=False), member("roomy", slots=8)
    assert (full.free_slots, roomy.free_slots) == (2, 8)
    full.downloading |= {A, B}
    assert choose_member(C, [full], NOW) == (None, False)
    assert choose_member(C, [full, roomy], NOW) == (roomy, False)


@pytest.mark.parametrize("state", [{"lost": True}, {"leaves": True}, {"excluded_until": NOW + 1}])
def test_nothing_is_placed_on_a_node_that_takes_none(state: dict[str, Any]) -> None:
    closed = member("closed", spooled={A: 5}, **state)
    assert choose_member(A, [closed], NOW) == (None, False)
    assert open_slots([closed], NOW) == 0
    assert choose_member(A, [closed, other := member("other")], NOW) == (other, False)


def test_a_job_whose_files_a_node_does_not_see_waits_for_another_one_if_there_is_one() -> None:
    blind, busy = member("blind", slots=9, unseen={A}), member("busy", downloading={B, C})
    assert choose_member(A, [blind, busy], NOW) == (None, True), "others may have the slot that is free"
    assert choose_member(A, [blind], NOW) == (blind, False)
    busy.downloading.clear()
    assert choose_member(A, [blind, busy], NOW) == (busy, False)


# --- losses


def test_two_losses_in_a_row_cost_nothing_and_each_further_one_a_try() -> None:
    losses = Losses()
    causes = [losses.lost(A, name).cause for name in ("n1", "n2", "n3", "n4")]
    assert causes == [Cause.NODE_LOST, Cause.NODE_LOST, Cause.WORKER_DIED, Cause.WORKER_DIED]
    assert losses.lost(B, "n1").cause is Cause.NODE_LOST, "each performance has its own count"
    losses.survived(A)
    assert losses.lost(A, "n5").cause is Cause.NODE_LOST


def test_a_performance_leaves_nodes_on_which_all_fails_twice_at_no_try() -> None:
    losses = Losses()
    assert [losses.moves_free(A) for _ in range(4)] == [True, True, False, False], "or such a run would never end"
    losses.survived(A)
    assert not losses.moves_free(A) and losses.moves_free(B)
    losses.extracted(A)
    assert losses.moves_free(A)


@pytest.mark.parametrize("cause", [Cause.NODE_LOST, Cause.NODE_LEAVES, Cause.NODE_UNFIT])
def test_what_a_node_is_to_blame_for_starts_at_once_again_and_costs_no_try(cause: Cause) -> None:
    row = PerformanceRow(A, Stage.EXTRACTING, tries=9)
    decision = decide_retry(Fault(cause, "gone"), row, RetryPolicy(max_retries=0), NOW, 0.5)
    assert (decision.stage, decision.wait_until, decision.counts_as_try) == (Stage.PENDING, None, False)


@pytest.mark.parametrize("cause", [Cause.NOT_STARTED, Cause.AUTH, Cause.NOT_WRITABLE, Cause.RCLONE_MISSING])
def test_a_node_that_cannot_work_is_excluded_at_once(cause: Cause) -> None:
    node = member("n1")
    fault = fault_of_node(Fault(cause, "no"), node)
    assert fault.cause is Cause.NODE_UNFIT and "n1" in str(fault)
    assert note_failure(node, A, "reserve", fault, NOW) and not node.is_open(NOW + 59) and node.is_open(NOW + 60)
    assert note_failure(node, A, "reserve", fault, NOW + 60) and not node.is_open(NOW + 179), "twice as long"
    note_success(node, "reserve")
    assert note_failure(node, A, "reserve", fault, NOW + 200) and not node.is_open(NOW + 439), (
        "it has extracted nothing"
    )
    note_success(node, "extract")
    assert note_failure(node, A, "reserve", fault, NOW + 440) and node.is_open(NOW + 500)


def test_a_node_on_which_different_performances_fail_in_a_row_is_excluded() -> None:
    node, died = member("n1"), Fault(Cause.WORKER_DIED, "by signal 11")
    names = [Performance("0018", f"e{number}") for number in range(MAX_FAILURES)]
    excluded = []
    for each in [names[0], *names]:
        note_success(node, "download")
        excluded.append(note_failure(node, each, "extract", died, NOW))
    assert excluded == [False, False, False, True], "that it can download is no answer"
    assert note_failure(node, A, "extract", died, NOW + 59), "what it still has goes elsewhere, too"
    assert node.is_open(NOW + 60) and note_failure(node, A, "extract", died, NOW + 60), "it is as it was"


def test_a_full_output_disk_excludes_no_node_and_a_full_spool_does() -> None:
    node, full = member("n1"), Fault(Cause.DISK_FULL, "no space left")
    names = [Performance("0018", f"e{number}") for number in range(MAX_FAILURES)]
    assert not any([note_failure(node, each, "extract", full, NOW) for each in names])
    assert any([note_failure(node, each, "download", full, NOW) for each in names])


@pytest.mark.parametrize("cause", [Cause.RATE_LIMIT, Cause.UNREACHABLE, Cause.FILE_QUOTA, Cause.NODE_LEAVES])
def test_what_the_remote_refuses_excludes_no_node(cause: Cause) -> None:
    node = member("n1")
    assert not any(
        note_failure(node, Performance("0018", f"e{n}"), "download", Fault(cause, "no"), NOW) for n in range(9)
    )


# --- limits


class Limits:
    """The shared limits of three nodes, by a clock that stands, and what is sent."""

    def __init__(self) -> None:
        self.now = NOW
        self.sent: list[tuple[str, str, float]] = []
        self.members = {name: member(name) for name in ("n1", "n2", "n3")}
        for name, each in self.members.items():
            each.address = name
        self.limits = SharedLimits(self._send, Clock(monotonic=lambda: self.now))

    def _send(self, address: str, message: Values) -> None:
        self.sent.append((address, message["kind"], message.get("seconds", -1.0)))

    def take(self, address: str, seconds: float | None = None) -> list[tuple[str, str, float]]:
        """Have a node meet a limit, or succeed (None); return what is sent."""
        self.sent.clear()
        kind = "limit over" if seconds is None else "limit"
        message = {"kind": kind, "account": "lab", "seconds": seconds, "reason": "rate limit"}
        self.limits.take(address, message, self.members)
        return list(self.sent)

    def added(self, name: str) -> list[tuple[str, str, float]]:
        self.sent.clear()
        self.members[name] = member(name)
        self.members[name].address = name
        self.limits.added(name)
        return list(self.sent)

    def removed(self, name: str, *, leaves: bool = False) -> list[tuple[str, str, float]]:
        self.sent.clear()
        if leaves:
            self.members[name].leaves = True
        else:
            del self.members[name]
        self.limits.removed(name, self.members)
        return list(self.sent)


def test_one_node_probes_and_the_others_are_held_until_it_succeeds() -> None:
    cluster = Limits()
    assert cluster.take("n1", 30) == [("n2", "hold", 30), ("n3", "hold", 30)]
    cluster.now += 10
    assert cluster.take("n2", 60) == [("n2", "hold", 20)], "a request that was made before: it does not probe, too"
    assert cluster.take("n2") == [], "it was no probe"
    cluster.now += 20
    assert cluster.take("n1", 60) == [("n2", "hold", 60), ("n3", "hold", 60)], "its probe was refused"
    assert cluster.take("n1") == [("n2", "resume", -1), ("n3", "resume", -1)]
    assert cluster.take("n3", 30) == [("n1", "hold", 30), ("n2", "hold", 30)]


def test_a_node_that_has_had_the_time_for_its_probe_keeps_no_other_limit_from_silencing_all() -> None:
    cluster = Limits()
    cluster.take("n1", 40)
    cluster.now += 79
    assert cluster.take("n2", 30) == [("n2", "hold", 0)]
    cluster.now += 1
    assert cluster.added("n4") == [], "nobody is held any more"
    assert cluster.take("n2", 30) == [(name, "hold", 30) for name in ("n1", "n3", "n4")]
    assert cluster.take("n1") == [], "it is not the one that they wait for"


def test_a_late_node_is_held_for_what_is_left_of_the_pause() -> None:
    cluster = Limits()
    cluster.take("n1", 600)
    cluster.now += 100
    assert cluster.added("n4") == [("n4", "hold", 500)]


@pytest.mark.parametrize("leaves", [False, True])
def test_one_node_probes_in_the_place_of_one_that_is_gone_or_leaves(leaves: bool) -> None:
    cluster = Limits()
    cluster.take("n1", 60)
    cluster.members["n3"].downloading.add(A)
    cluster.now += 20
    held = [(name, "hold", 40) for name in (["n1"] if leaves else []) + ["n2"]]
    assert cluster.removed("n1", leaves=leaves) == [("n3", "probe", 40), *held]
    assert [kind for _, kind, _ in cluster.take("n3")] == ["resume"] * len(held)
    assert cluster.removed("n3") == []


def test_the_pause_of_the_last_node_is_that_of_the_next() -> None:
    cluster = Limits()
    for name in ("n2", "n3"):
        cluster.removed(name)
    cluster.take("n1", 60)
    assert cluster.removed("n1") == []
    cluster.now += 20
    assert cluster.added("n4") == [("n4", "probe", 40)]


# --- joining


def facts(settings: Settings, **changes: Any) -> Values:
    now = SYSTEM_CLOCK.now()
    return {"problem": None, "versions": own_versions(), "nonce": "abc", "nonce_problem": "", "time": now, **changes}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, None),
        ({"problem": "cannot start a worker"}, "cannot start a worker"),
        ({"versions": {**own_versions(), "rm360": "0.0.1"}}, "rm360 0.0.1 there"),
        ({"versions": {**own_versions(), "Python": "2.7"}}, "Python 2.7 there"),
        ({"nonce": "", "nonce_problem": "cannot be read: No such file or directory"}, "cannot be read: No such file"),
        ({"nonce": "another"}, "is not the folder that the run writes to"),
        ({"time": 0.0}, "its clock differs by"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(tmp_path: Path, changes: Values, sentence: str | None) -> None:
    settings = settings_of(tmp_path)
    refusal = JoinCheck(settings, tmp_path / "nonce", "abc").refusal(facts(settings, **changes))
    assert refusal is None if sentence is None else sentence in str(refusal)


def test_the_scheduler_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "cluster.json"
    assert read_scheduler_file(path) is None
    written = CoordinatorAddress(("tls://10.0.0.5:8786", "tls://10.1.0.5:8786"), Path("/keys"))
    write_scheduler_file(path, written)
    assert json.loads(path.read_text())["address"] == "tls://10.0.0.5:8786", "as Dask writes it"
    for tls, expected in ((None, Path("/keys")), (Path("/mine"), Path("/mine"))):
        found = read_scheduler_file(path, tls)
        assert found == replace(written, tls=expected)
    path.write_text('{"address": ')
    assert read_scheduler_file(path) is None


def test_keys_that_a_run_has_made_are_in_its_file_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "cluster.json"
    written = CoordinatorAddress(("tls://127.0.0.1:8786",), None, new_keys())
    write_scheduler_file(path, written)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_scheduler_file(path) == written
    path.chmod(0o640)
    with pytest.raises(Fault, match="others may read"):
        read_scheduler_file(path)
    path.chmod(0o600)
    if os.geteuid() == 0:
        os.chown(path, 65_534, -1)
        with pytest.raises(Fault, match="belongs to another user"):
            read_scheduler_file(path)


# --- what is exchanged


def test_a_node_gets_the_settings_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """
processing: {fetch: ranges, damaged: fail, bandwidth: "08:00,2M 19:00,off", downloads: 3, worker_memory_gb: 2}
limits: {max_temp_size_gb: 7, min_free_space_gb: 0.5}
cluster: {scheduler_file: c.json, temp_dir: /scratch/$WHO/x, connections: 5, workers: 6}
"""
    settings = settings_of(tmp_path, text)
    values = json.loads(json.dumps(settings_values(settings)))
    monkeypatch.setenv("WHO", "alice")
    got = node_settings(values, None, None)
    assert (got.storage.temp_dir, got.storage.output_dir) == (Path("/scratch/alice/x"), settings.storage.output_dir)
    expected = settings.processing.model_copy(update={"connections": 5, "workers": 6})
    assert (got.processing, got.limits, got.google_drive.remotes) == (expected, settings.limits, ("lab",))
    own = node_settings(values, "/fast", 1)
    assert (own.storage.temp_dir, own.processing.downloads) == (Path("/fast"), 1)
    monkeypatch.delenv("WHO")
    with pytest.raises(BadRequest, match="a variable that this node does not know"):
        node_settings(values, None, None)
    with pytest.raises(BadRequest, match="there is none"):
        node_settings({**values, "temp_dir": ""}, None, None)


def test_a_job_survives_the_way_to_a_node_and_back() -> None:
    job = Job(A, target=Path("/out/0018/e0"))
    job.selection = Selection(("25", "31"), (Modality.IMAGES, Modality.AUDIO), (("25",), (Modality.AUDIO,)))
    file = RemoteFile("0018/0018_e0_raw.smc", 9, "2026", "id", "md5", folder=RemoteFolder("0018", "f"))
    job.remote_files, job.sources = {Kind.RAW: file}, {Kind.RAW: file.source()}
    job.fetch_mode, job.needs_whole = FetchMode.RANGES, True
    there = Job(A)
    fill_job(there, json.loads(json.dumps(job_values(job))))
    assert (there.target, there.selection, there.remote_files) == (job.target, job.selection, job.remote_files)
    assert (there.sources, there.fetch_mode, there.needs_whole) == (job.sources, FetchMode.RANGES, True)
    there.sources = {Kind.RAW: replace(file.source(), md5="found out")}
    there.spooled, there.spooled_bytes, there.spool_need = {Kind.RAW: Path("/scratch/x.smc")}, 9, 12
    there.fetch_mode, there.staging_dir = FetchMode.WHOLE, Path("/out/0018/.e0.12.staging")
    apply_outcome(job, json.loads(json.dumps(outcome_values(there))))
    assert (job.sources, job.spooled, job.spooled_bytes, job.spool_need) == (there.sources, there.spooled, 9, 12)
    assert (job.fetch_mode, job.staging_dir, job.arrived) == (FetchMode.WHOLE, there.staging_dir, True)


@pytest.mark.parametrize("cause", Cause)
def test_a_fault_survives_as_values(cause: Cause) -> None:
    fault = Fault(cause, "what", "do this", until=12.5)
    again = fault_from(json.loads(json.dumps(fault_values(fault))))
    assert (again.cause, str(again), again.until) == (cause, str(fault), 12.5)


def test_why_there_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("{}")
    assert why_no_run(tmp_path / "typo.json") == "there is no such file"
    assert why_no_run(tmp_path / "typo" / "c.json") == f"there is no such file, and no folder {tmp_path / 'typo'}"
    assert why_no_run(tmp_path / "other.json") == "it is not the scheduler_file of a run"
    assert why_no_run(tmp_path) == "it cannot be read: Is a directory"
