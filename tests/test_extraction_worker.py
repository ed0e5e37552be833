"""The extraction in a child process: how each death is reported, and that no process is left."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from hooked import use_hooks
from tiny_smc import Tiny

from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Performance
from rm360_async.domain.record import SourceFile
from rm360_async.extraction.job import ExtractJob
from rm360_async.extraction.worker_client import ExtractionWorkers, WorkerLimits
from rm360_async.store.marker import MARKER

pytestmark = pytest.mark.anyio
GB = 2**30


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


@pytest.fixture
async def workers() -> AsyncIterator[ExtractionWorkers]:
    async with ExtractionWorkers() as workers:
        yield workers


def hooked(monkeypatch: pytest.MonkeyPatch, do: str, **more: object) -> None:
    use_hooks(monkeypatch, {"point": "sealing", "side": "worker", "do": do, **more})


def limits(memory: float = 4, seconds: float = 60) -> WorkerLimits:
    return WorkerLimits(int(memory * GB), seconds)


async def extract(workers: ExtractionWorkers, job: ExtractJob, limits: WorkerLimits) -> list[tuple[int, int]]:
    """Extract, and return the progress that was reported."""
    progress: list[tuple[int, int]] = []
    record = await workers.extract(job, limits, lambda files, size: progress.append((files, size)))
    assert (record.subject, record.performance, record.sources) == ("0018", "e0", job.sources)
    return progress


async def fault_of(workers: ExtractionWorkers, job: ExtractJob, limits: WorkerLimits) -> Fault:
    with pytest.raises(Fault) as caught:
        await workers.extract(job, limits, lambda files, size: None)
    return caught.value


async def test_a_worker_extracts_seals_and_reports_its_progress(workers: ExtractionWorkers, job: ExtractJob) -> None:
    progress = await extract(workers, job, limits())
    assert progress and (Path(job.staging) / MARKER).is_file()


async def test_the_fault_of_a_worker_is_raised(workers: ExtractionWorkers, job: ExtractJob) -> None:
    Path(job.raw or "").write_bytes(b"<html>quota</html>")
    fault = await fault_of(workers, job, limits())
    assert fault.cause is Cause.UNREADABLE and "a web page" in fault.message


@pytest.mark.parametrize(
    ("do", "words"),
    [
        ("kill", "was killed by SIGKILL (by hand, or by the system because memory was short)"),
        ("segv", "was killed by SIGSEGV"),
        ("exhaust_memory", "needed more than 2 GB of memory (processing.worker_memory_gb)"),
    ],
)
async def test_the_message_says_what_a_worker_died_of(
    workers: ExtractionWorkers, job: ExtractJob, monkeypatch: pytest.MonkeyPatch, do: str, words: str
) -> None:
    hooked(monkeypatch, do)
    fault = await fault_of(workers, job, limits(memory=2))
    assert fault.cause is Cause.WORKER_DIED and fault.message == f"the extraction process of 0018/e0 {words}"


async def test_a_worker_that_hangs_is_ended_at_its_deadline(
    workers: ExtractionWorkers, job: ExtractJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooked(monkeypatch, "hang")
    fault = await fault_of(workers, job, limits(seconds=0.3))
    assert fault.cause is Cause.DEADLINE and "within 0.005 minutes" in fault.message
    assert workers_of(job) == []


async def test_a_worker_that_cannot_start_is_reported(
    workers: ExtractionWorkers, job: ExtractJob, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho oops >&2\nexit 7\n")
    python.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(python))
    fault = await fault_of(workers, job, limits())
    assert fault.cause is Cause.NOT_STARTED
    assert fault.message == "a worker process ended with exit code 7: oops, before it had begun"


async def test_cancelling_leaves_no_process(
    workers: ExtractionWorkers, job: ExtractJob, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    barrier = tmp_path / "barrier"
    hooked(monkeypatch, "barrier", path=str(barrier))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(extract, workers, job, limits())
        with anyio.fail_after(30):
            while not Path(f"{barrier}.reached").exists():
                await anyio.lowlevel.checkpoint()
        assert len(workers_of(job)) == 1
        tasks.cancel_scope.cancel()
    assert workers_of(job) == []


def workers_of(job: ExtractJob) -> list[str]:
    """Return the processes of this one's descendants that have the name of the job's performance."""
    pids = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            named = (folder / "comm").read_text() == f"{job.performance}\n"
            group = os.getsid(int(folder.name))
            parent = int(Path(f"/proc/{group}/stat").read_text().rpartition(") ")[2].split()[1])
        except OSError:
            continue
        if named and parent == os.getpid():
            pids.append(folder.name)
    return pids
