"""What holds after every loss: the bytes of one machine, each performance once in the ledger, and nothing left over."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster_processes import ClusterNode, outcomes
from instance import wait_until
from tiny_smc import Tiny
from workspace import Workspace, tree

from rm360_async.store.marker import MARKER

NAMES = [f"e{number}" for number in range(6)]


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
    nodes: list[ClusterNode],
    times: int = 1,
    steps: Sequence[dict[str, Any]] = ({},),
) -> None:
    """All is published with the bytes that runs on one machine publish, recorded once, and nothing is left.

    `steps` are the values of the config that the runs had, `times` how often each performance was completed.
    """
    published = content(workspace.output)
    folder = workspace.root / "alone"
    alone = {"storage__output_dir": str(folder / "subjects"), "storage__temp_dir": str(folder / "temp")}
    for step in steps:
        assert workspace.run(**alone, **step) == 0
    assert published == content(folder / "subjects")
    assert set(published) >= {f"0018/{name}/metadata/info.json" for name in names}
    ended = outcomes(workspace)
    assert {name: ended[f"0018/{name}"]["completed"] for name in names} == dict.fromkeys(names, times)
    assert not any(counts["open"] for counts in ended.values()), "an attempt is open"
    assert not list(workspace.output.glob("*/.*.staging")) and not list(workspace.output.glob(".rm360-run-*"))
    alive = [node for node in nodes if node.process.poll() is None]
    wait_until(lambda: not any(node.spooled for node in alive), "the spools are empty")
