"""Nodes that do nothing: each answers every step at once, or after some seconds. Ends when its run does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import anyio

from rm360_async.cluster.dask_node import NodeLink, connected
from rm360_async.cluster.dask_settings import configure_dask
from rm360_async.cluster.join import own_versions
from rm360_async.cluster.scheduler_file import read_scheduler_file
from rm360_async.domain.clock import SYSTEM_CLOCK

_SLOTS = 16
RECORD: dict[str, Any] = {
    "subject": "0018", "performance": "e0", "version": "0", "published": "2026-11-29T00:00:00+00:00", "sources": [],
    "wanted_cameras": "all", "wanted_modalities": [], "modalities": [], "absent": [], "cameras": {"25": 4}, "frames": 4,
    "fps": 30.0, "left_out": [], "files": 20, "bytes": 1000, "fetched": "whole", "schema": 1, "seconds": {},
    "sizes": {}, "resolved_cameras": [], "camera_pool": [], "verdict": "complete", "audio_seconds": 1.0,
}  # fmt: skip


async def _node(path: Path, name: str) -> None:
    coordinator = read_scheduler_file(path)
    assert coordinator is not None, "started before the coordinator"
    async with connected(coordinator) as link, anyio.create_task_group() as tasks:
        tasks.start_soon(_answer, link, name)
        tasks.start_soon(_report, link)
        await link.wait_closed()
        tasks.cancel_scope.cancel()


async def _answer(link: NodeLink, name: str) -> None:
    jobs: dict[str, dict[str, Any]] = {}
    async for message in link.messages:
        if message["kind"] == "welcome":
            nonce = await anyio.Path(message["nonce_path"]).read_text()
            facts = {"problem": None, "versions": own_versions(), "nonce": nonce, "time": SYSTEM_CLOCK.now()}
            spool = {"spooled": {}, "free_bytes": 10**12, "host": "simulated"}
            link.send({"kind": "join", "name": name, "slots": _SLOTS, "workers": 4, **facts, **spool})
        elif message["kind"] == "step":
            if message["step"] == "reserve":
                jobs[message["performance"]] = message["job"]
            link.send(_outcome(message, jobs[message["performance"]]))
        elif message["kind"] == "release":
            del jobs[message["performance"]]


def _outcome(message: dict[str, Any], job: dict[str, Any]) -> dict[str, Any]:
    spooled = {kind: "/spool/x" for kind in job["sources"]} if message["step"] != "reserve" else {}
    staging = None
    if message["step"] == "extract":
        target = Path(job["target"])
        staging = str(target.with_name(f".{target.name}.{message['attempt']}.staging"))
    values = {"sources": job["sources"], "spooled": spooled, "spooled_bytes": 9, "spool_need": 9, "staging": staging}
    values |= {"fetch_mode": "whole", "needs_whole": False}
    outcome = {"kind": "outcome", "number": message["number"], "fault": None, "job": values, "fetched_bytes": 9}
    return outcome | ({"record": RECORD} if message["step"] == "extract" else {})


async def _report(link: NodeLink) -> None:
    while True:
        await anyio.sleep(5)
        state = {"free_bytes": 10**12, "rate": 0.0, "has_room": True, "connections": 0, "held_back_by": ""}
        link.send({"kind": "progress", "steps": [], **state})


async def _main(path: Path, first: int, count: int) -> None:
    configure_dask()  # as a node does when it looks whether a run answers
    async with anyio.create_task_group() as tasks:
        for number in range(first, first + count):
            tasks.start_soon(_node, path, f"node{number}")


if __name__ == "__main__":
    anyio.run(_main, Path(sys.argv[1]), 0, int(sys.argv[2]))
