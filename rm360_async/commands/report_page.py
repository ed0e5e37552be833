"""The worker that writes one page of a report, so that an image that crashes its library costs one page."""

from __future__ import annotations

import json
from pathlib import Path

from rm360_async.domain.errors import BadRequest, Fault
from rm360_async.system.worker import MessageWriter
from rm360_async.visualization.report import write_page

_RUN_PAGE_LINK = "../../index.html"


def main(text: str, messages: MessageWriter) -> int:
    """Write the page of a job (JSON: folder, page folder, faces); the one message has why that failed, or ""."""
    folder, page_dir, faces = json.loads(text)
    try:
        write_page(Path(folder), Path(page_dir), faces=faces, back=_RUN_PAGE_LINK)
    except (BadRequest, Fault) as error:
        messages.send({"problem": str(error)})
    else:
        messages.send({"problem": ""})
    return 0
