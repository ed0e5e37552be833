"""The worker that finds out which ranges a job needs.

It has no network. It writes JSON lines: `want` (spans by kind of file, with `urgent`), `wait` ("urgent" or "all": a
line on standard input answers once those are there), `discovering` (true or false), and last a result, which is one of
- `done`: the bytes of disk that the files take;
- `too_expensive`: the bytes of disk and the requests that the ranges would cost, with `whole_is_cheaper`: true if the
  whole files cost less, false if the ranges only need more space than the job allows;
- `fault`: cause, message and hint; `error`: errno and text of an error of the disk.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rm360_async.domain.errors import Fault
from rm360_async.download.ranges.job import RangeJob
from rm360_async.download.ranges.range_worker import RangeWorker, TooExpensive
from rm360_async.download.ranges.requests import RangeRequests
from rm360_async.system.linux import require_linux
from rm360_async.system.sparse_file import SparseFile
from rm360_async.system.worker import MessageWriter


def main(text: str, messages: MessageWriter) -> int:
    """Do the job in `text` (JSON); the exit code is 0 whenever the last line tells the result."""
    require_linux("a worker process")
    job = RangeJob.from_json(text)
    try:
        result = _run(job, messages)
    except OSError as error:
        result = {"error": [error.errno or 0, error.strerror or str(error)]}
    messages.send(result)
    return 0


def _run(job: RangeJob, messages: MessageWriter) -> dict[str, Any]:
    """Return the result of a job. Raises OSError for a file that cannot be read."""
    with ExitStack() as stack:
        files = {kind: stack.enter_context(SparseFile(Path(path))) for kind, path in job.files.items()}
        requests = RangeRequests(files, messages)
        return {**_result(RangeWorker(job, files, requests, messages)), "requests": requests.requests}


def _result(worker: RangeWorker) -> dict[str, Any]:
    try:
        return {"done": worker.run()}
    except TooExpensive as error:
        cost = [error.cost.disk_bytes, error.cost.requests]
        return {"too_expensive": cost, "whole_is_cheaper": error.whole_is_cheaper}
    except Fault as fault:
        return {"fault": [fault.cause.code, fault.message, fault.hint]}
