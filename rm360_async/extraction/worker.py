"""The worker process: extract and seal one performance, and write the result as JSON lines to standard output."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

from rm360_async.domain.errors import Fault
from rm360_async.extraction.extract import extract
from rm360_async.extraction.job import ExtractJob
from rm360_async.store.seal import open_file_system, seal
from rm360_async.system.linux import require_linux
from rm360_async.system.worker_protocol import MessageWriter, limit_process


def main(arguments: list[str]) -> int:
    """Run the job in `arguments` (memory limit in bytes, job as JSON); return the exit code."""
    require_linux("a worker process")
    memory_bytes, job = int(arguments[0]), ExtractJob.from_json(arguments[1])
    limit_process(memory_bytes)
    messages = MessageWriter()
    try:
        with open_file_system(Path(job.staging)) as file_system:
            record = extract(job, on_progress=messages.send_progress)
            seal(Path(job.staging), record, file_system)
    except Fault as fault:
        messages.send({"fault": [fault.cause.code, fault.message, fault.hint]})
        return 0
    messages.send({"record": asdict(record)})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
