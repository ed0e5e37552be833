"""The pool of processes alone: what each way of ending becomes, and that no child is left."""

from __future__ import annotations

import json
import os
from pathlib import Path

import anyio
import pytest
from tiny_smc import Tiny

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Performance
from rm360_async.domain.record import SourceFile
from rm360_async.extraction.job import ExtractJob
from rm360_async.extraction.pool import WorkerLimits, Workers
from rm360_async.store.marker import MARKER

pytestmark = pytest.mark.anyio
GB = 2**30
HOOK = Path(__file__).resolve().parent / "hook"


@pytest.fixture
def job(tmp_path: Path) -> ExtractJob:
    raw = Tiny(part="e0").write(tmp_path / "0018_e0_raw.smc")
    (tmp_path / "0018").mkdir()
    return ExtractJob(
        performance=Performance("0018", "e0"),
        raw=str(raw),
        anno=None,
        sources=(SourceFile("0018/0018_e0_raw.smc", raw.stat().st_size),),
        staging=str(tmp_path / "0018" / ".e0.abcd.staging"),
    )


def hooked(monkeypatch: pytest.MonkeyPatch, do: str, **more: object) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HOOK))
    monkeypatch.setenv("RM360_FAULT_HOOKS", json.dumps([{"point": "sealing", "side": "worker", "do": do, **more}]))


def pool(memory: float = 4, seconds: float = 60, count: int = 1) -> Workers:
    return Workers(count, WorkerLimits(int(memory * GB), seconds))


async def extracted(workers: Workers, job: ExtractJob) -> list[tuple[int, int]]:
    """Extract, and return the progress that was told."""
    told: list[tuple[int, int]] = []
    record = await workers.extract(job, lambda files, size: told.append((files, size)))
    assert (record.subject, record.performance, record.sources) == ("0018", "e0", job.sources)
    return told


async def fault_of(workers: Workers, job: ExtractJob) -> Fault:
    with pytest.raises(Fault) as caught:
        await workers.extract(job, lambda files, size: None)
    return caught.value


async def test_a_child_extracts_seals_and_tells_its_progress(job: ExtractJob) -> None:
    told = await extracted(pool(), job)
    assert told and (Path(job.staging) / MARKER).is_file()


async def test_the_childs_own_fault_comes_through(job: ExtractJob) -> None:
    Path(job.raw or "").write_bytes(b"<html>quota</html>")
    fault = await fault_of(pool(), job)
    assert fault.cause is Cause.UNREADABLE and "a web page" in fault.message


@pytest.mark.parametrize(
    ("do", "words"),
    [
        ("kill", "was killed by SIGKILL (by hand, or by the system because memory was short)"),
        ("segv", "was killed by SIGSEGV"),
        ("exhaust_memory", "needed more than 2 GB of memory (processing.worker_memory_gb)"),
    ],
)
async def test_a_death_is_told_by_what_it_was(
    job: ExtractJob, monkeypatch: pytest.MonkeyPatch, do: str, words: str
) -> None:
    hooked(monkeypatch, do)
    fault = await fault_of(pool(memory=2), job)
    assert fault.cause is Cause.WORKER_DIED and fault.message == f"the extraction process of 0018/e0 {words}"


async def test_a_child_that_hangs_is_ended_at_its_deadline(job: ExtractJob, monkeypatch: pytest.MonkeyPatch) -> None:
    hooked(monkeypatch, "hang")
    fault = await fault_of(pool(seconds=0.3), job)
    assert fault.cause is Cause.DEADLINE and "within 0.005 minutes" in fault.message
    assert workers_of(job.staging) == []


async def test_a_child_that_cannot_start_says_its_last_words(job: ExtractJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    monkeypatch.setattr("rm360_async.system.processes._launched", lambda command: ["sh", "-c", "echo oops >&2; exit 7"])
    fault = await fault_of(pool(), job)
    assert fault.message == "the extraction process of 0018/e0 ended with exit code 7: oops"


async def test_cancelling_leaves_no_child(job: ExtractJob, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    barrier = tmp_path / "barrier"
    hooked(monkeypatch, "barrier", path=str(barrier))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(extracted, pool(), job)
        with anyio.fail_after(30):
            while not Path(f"{barrier}.reached").exists():
                await anyio.lowlevel.checkpoint()
        assert len(workers_of(job.staging)) == 1
        tasks.cancel_scope.cancel()
    assert workers_of(job.staging) == []


async def test_no_more_run_at_once_than_were_asked_for(
    job: ExtractJob, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    barrier = tmp_path / "barrier"
    hooked(monkeypatch, "barrier", path=str(barrier))
    workers, most = pool(count=1), 0
    async with anyio.create_task_group() as tasks:
        for number in range(3):
            other = ExtractJob(**{**vars(job), "staging": f"{job.staging}{number}"})
            tasks.start_soon(extracted, workers, other)
        with anyio.fail_after(30):
            while not Path(f"{barrier}.reached").exists():
                most = max(most, len({number for number in range(3) if workers_of(f"{job.staging}{number}")}))
                await anyio.lowlevel.checkpoint()
        barrier.touch()
    assert most == 1 and all((Path(f"{job.staging}{number}") / MARKER).is_file() for number in range(3))


def workers_of(staging: str) -> list[str]:
    """Return the processes that have the job of that staging folder."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        if folder.name == str(os.getpid()):
            continue
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if staging.encode() in command:
            found.append(folder.name)
    return found
