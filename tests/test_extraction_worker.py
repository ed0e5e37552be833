"""The extraction in a child process: how each death is reported, and that no process is left."""

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
from rm360_async.extraction.worker_client import WorkerLimits, run_extraction
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


def limits(memory: float = 4, seconds: float = 60) -> WorkerLimits:
    return WorkerLimits(int(memory * GB), seconds)


async def extract(job: ExtractJob, limits: WorkerLimits) -> list[tuple[int, int]]:
    """Extract, and return the progress that was reported."""
    progress: list[tuple[int, int]] = []
    record = await run_extraction(job, limits, lambda files, size: progress.append((files, size)))
    assert (record.subject, record.performance, record.sources) == ("0018", "e0", job.sources)
    return progress


async def fault_of(job: ExtractJob, limits: WorkerLimits) -> Fault:
    with pytest.raises(Fault) as caught:
        await run_extraction(job, limits, lambda files, size: None)
    return caught.value


async def test_a_worker_extracts_seals_and_reports_its_progress(job: ExtractJob) -> None:
    progress = await extract(job, limits())
    assert progress and (Path(job.staging) / MARKER).is_file()


async def test_the_fault_of_a_worker_is_raised(job: ExtractJob) -> None:
    Path(job.raw or "").write_bytes(b"<html>quota</html>")
    fault = await fault_of(job, limits())
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
    job: ExtractJob, monkeypatch: pytest.MonkeyPatch, do: str, words: str
) -> None:
    hooked(monkeypatch, do)
    fault = await fault_of(job, limits(memory=2))
    assert fault.cause is Cause.WORKER_DIED and fault.message == f"the extraction process of 0018/e0 {words}"


async def test_a_worker_that_hangs_is_ended_at_its_deadline(job: ExtractJob, monkeypatch: pytest.MonkeyPatch) -> None:
    hooked(monkeypatch, "hang")
    fault = await fault_of(job, limits(seconds=0.3))
    assert fault.cause is Cause.DEADLINE and "within 0.005 minutes" in fault.message
    assert workers_of(job.staging) == []


async def test_a_worker_that_cannot_start_is_reported(job: ExtractJob, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    monkeypatch.setattr(
        "rm360_async.system.processes._launcher_command", lambda command: ["sh", "-c", "echo oops >&2; exit 7"]
    )
    fault = await fault_of(job, limits())
    assert fault.message == "the extraction process of 0018/e0 ended with exit code 7: oops"


async def test_cancelling_leaves_no_process(job: ExtractJob, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    barrier = tmp_path / "barrier"
    hooked(monkeypatch, "barrier", path=str(barrier))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(extract, job, limits())
        with anyio.fail_after(30):
            while not Path(f"{barrier}.reached").exists():
                await anyio.lowlevel.checkpoint()
        assert len(workers_of(job.staging)) == 1
        tasks.cancel_scope.cancel()
    assert workers_of(job.staging) == []


def workers_of(staging: str) -> list[str]:
    """Return the processes that have the job of that staging folder."""
    pids = []
    for folder in Path("/proc").glob("[0-9]*"):
        if folder.name == str(os.getpid()):
            continue
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if staging.encode() in command:
            pids.append(folder.name)
    return pids
