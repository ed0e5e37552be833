"""The worker of an extraction: extracts and seals one performance; its last message is the record, or the fault."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from rm360_async.domain.errors import Fault
from rm360_async.extraction.extract import extract
from rm360_async.extraction.job import ExtractJob
from rm360_async.store.seal import open_file_system, seal
from rm360_async.system.linux import require_linux
from rm360_async.system.worker import MessageWriter


def main(text: str, messages: MessageWriter) -> int:
    """Do the job in `text` (JSON); return the exit code."""
    require_linux("a worker process")
    job = ExtractJob.from_json(text)
    try:
        with open_file_system(Path(job.staging)) as file_system:
            record = extract(job, on_progress=messages.send_progress)
            seal(Path(job.staging), record, file_system)
    except Fault as fault:
        messages.send({"fault": [fault.cause.code, fault.message, fault.hint]})
        return 0
    messages.send({"record": asdict(record)})
    return 0
