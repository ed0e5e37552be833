"""The worker that downloads ranges.

It writes JSON lines: `progress` (bytes downloaded), `discovering` (true or false), and last a result, which is one of
- `done`: the bytes of disk that the files take;
- `too_expensive`: the bytes of disk and the requests that the ranges would cost, with `whole_is_cheaper`: true if the
  whole files cost less, false if the ranges only need more space than the job allows;
- `refused`: the path, the offset, the message, and whether the server rejected the request (see `RangeRefused`);
- `ranges_unsupported`: the path of a file of which other bytes arrived than were requested;
- `fault`: cause, message and hint; `error`: errno and text of an error of the disk.
The password of the rclone that serves the remote is in the environment, where no other user can read it.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rm360_async.domain.errors import Fault
from rm360_async.download.ranges.job import PASSWORD_VARIABLE, RangeJob
from rm360_async.download.ranges.probe import RangesUnsupported
from rm360_async.download.ranges.range_client import RangeClient, RangeRefused
from rm360_async.download.ranges.range_connections import ServerAddress
from rm360_async.download.ranges.range_worker import RangeWorker, TooExpensive
from rm360_async.system.linux import require_linux
from rm360_async.system.sparse_file import SparseFile
from rm360_async.system.worker import MessageWriter

_CONNECTIONS = 48


class _ByteCounter:
    """Counts the bytes that arrive and reports them."""

    def __init__(self, messages: MessageWriter) -> None:
        self._messages = messages
        self.total = 0

    def __call__(self, size: int) -> None:
        self.total += size
        self._messages.send_progress(self.total)


def main(text: str, messages: MessageWriter) -> int:
    """Do the job in `text` (JSON); the exit code is 0 whenever the last line tells the result."""
    require_linux("a worker process")
    job = RangeJob.from_json(text)
    received = _ByteCounter(messages)
    address = ServerAddress(job.port, job.user, os.environ.pop(PASSWORD_VARIABLE, ""))
    client = RangeClient(address, _CONNECTIONS, received)
    try:
        result = _run(job, client, messages)
    except OSError as error:
        result = {"error": [error.errno or 0, error.strerror or str(error)]}
    finally:
        client.close()
    messages.send({**result, "fetched": received.total, "requests": client.requests})
    return 0


def _run(job: RangeJob, client: RangeClient, messages: MessageWriter) -> dict[str, Any]:
    """Return the result of a job. Raises OSError for a file that cannot be written."""
    with ExitStack() as stack:
        messages.send({"discovering": True})  # the bytes that are here already are verified
        files = {kind: stack.enter_context(SparseFile(Path(file.local), file.size)) for kind, file in job.files.items()}
        messages.send({"discovering": False})
        stack.callback(client.close)  # before the files: its threads write to them
        return _result(RangeWorker(job, files, client, messages))


def _result(worker: RangeWorker) -> dict[str, Any]:
    try:
        return {"done": worker.run()}
    except TooExpensive as error:
        cost = [error.cost.disk_bytes, error.cost.requests]
        return {"too_expensive": cost, "whole_is_cheaper": error.whole_is_cheaper}
    except RangesUnsupported as error:
        return {"ranges_unsupported": error.path}
    except RangeRefused as error:
        return {"refused": [error.path, error.offset, error.message, error.rejected]}
    except Fault as fault:
        return {"fault": [fault.cause.code, fault.message, fault.hint]}
