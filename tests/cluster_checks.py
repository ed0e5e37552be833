"""What holds after every loss: the bytes of one machine, each performance once in the ledger, and nothing left over."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cluster_processes import ClusterNode, outcomes
from drive_emulator import ROOT_ID
from drive_server import QUESTION_BYTES, DriveServer
from instance import wait_until
from tiny_smc import Tiny
from workspace import Workspace, tree

from rm360_async.store.marker import MARKER

NAMES = [f"e{number}" for number in range(5)]
ON_DRIVE: dict[str, Any] = {"google_drive__remote_name": "gdrive", "google_drive__root_folder_id": ROOT_ID}
_CHARGED = re.compile(r"(\d{4}/\w+): \w+, counts as a try: True")
_alone: dict[tuple[str, str], dict[str, bytes]] = {}
"""What one machine publishes, by the remote's content and the config: most tests have the same."""


def fill(workspace: Workspace) -> Workspace:
    """Put some performances on a workspace's remote; return it."""
    for name in NAMES:
        workspace.put(f"0018/0018_{name}_raw.smc", Tiny(part=name))
    return workspace


def content(folder: Path) -> dict[str, bytes]:
    """Return all files of published folders, but for their markers, which hold times."""
    found = tree(folder).items()
    return {path: data for path, data in found if Path(path).name != MARKER and ".staging/" not in path}


def assert_as_on_one_machine(
    workspace: Workspace,
    names: list[str],
    nodes: Sequence[ClusterNode],
    times: int | Mapping[str, int] = 1,
    steps: Sequence[dict[str, Any]] = ({},),
    *,
    charged: Mapping[str, int] | None = MappingProxyType({}),
) -> None:
    """All is published with the bytes that runs on one machine publish, recorded once, whole, and nothing is left.

    `steps` are the values of the config that the runs had, `times` how often each performance was completed, and
    `charged` how many attempts of which performance cost a try (None: not looked at).
    """
    assert workspace.command("verify", "--deep") == 0
    published = content(workspace.output)
    assert published == content_of_one_machine(workspace, steps)
    assert set(published) >= {f"0018/{name}/metadata/info.json" for name in names}
    expected = dict.fromkeys(names, times) if isinstance(times, int) else dict(times)
    ended = outcomes(workspace)
    assert {name: ended[f"0018/{name}"]["completed"] for name in names} == expected
    assert not any(counts["open"] for counts in ended.values()), ended
    assert charged is None or charged_tries(workspace) == charged
    assert not list(workspace.output.glob("*/.*.staging")) and not list(workspace.output.glob(".rm360-run-*"))
    assert not workspace.leftovers(), "the coordinator has no spool"
    alive = [node for node in nodes if node.process.poll() is None]
    wait_until(lambda: not any(node.spooled for node in alive), "the spools are empty")


def charged_tries(workspace: Workspace) -> Counter[str]:
    """Return how many attempts of each performance have cost a try, by the log."""
    return Counter(_CHARGED.findall(workspace.log()))


def content_of_one_machine(workspace: Workspace, steps: Sequence[dict[str, Any]]) -> dict[str, bytes]:
    """Return what runs on one machine publish of a workspace's remote."""
    digest = hashlib.sha256()
    for path, data in tree(workspace.remote).items():
        digest.update(path.encode() + data)
    key = digest.hexdigest(), f"{workspace.structure} {steps}"
    if key not in _alone:
        folder = workspace.root / "alone"
        alone = {"storage__output_dir": str(folder / "subjects"), "storage__temp_dir": str(folder / "temp")}
        for step in steps:
            assert workspace.run(**{**step, **alone}) == 0
        _alone[key] = content(folder / "subjects")
    return _alone[key]


def assert_little_was_asked_again(server: DriveServer, lost: Iterable[str], nodes: int) -> None:
    """Each file was downloaded once, and again at most as often as a lost node had bytes of it (`lost`).

    What is asked beside that: some bytes for each file and node that find something out, and the folder's listing.
    """
    log, again = list(server.drive.log), Counter(lost)
    for name in NAMES:
        sent = sum(request.sent for request in log if request.op == "media" and f"_{name}_" in request.path)
        size = server.file(name).stat().st_size
        assert sent <= size * (1 + again[name]) + nodes * QUESTION_BYTES, f"{name}: {sent} of {size} bytes"
    counts = Counter(request.op for request in log)
    fetched = len(NAMES) + again.total()
    assert counts["media"] <= 5 * fetched and counts["list"] <= 4 * fetched + 5 * nodes, (counts, again)


def performances_in(*nodes: ClusterNode) -> list[str]:
    """Return the performances of which nodes have bytes, each as often as there are nodes that do."""
    return [name for node in nodes for name in {file.split("_")[1] for file in node.spooled}]


def published_folders(workspace: Workspace) -> dict[str, tuple[int, int]]:
    """Return inode and time of each published folder and of its marker."""
    folders = [marker.parent for marker in workspace.output.glob(f"*/[!.]*/{MARKER}")]
    found = [*folders, *(folder / MARKER for folder in folders)]
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}
