"""The recipes of cluster/README.md for servers and services, followed word by word on pretended machines."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import machines
import pytest
import yaml
from cluster_checks import content
from instance import wait_until
from machines import Machine
from recipes import PAGE, blocks, command_of, commands
from tiny_smc import Tiny
from workspace import Workspace

pytestmark = [
    pytest.mark.skipif(machines.missing() is not None, reason=str(machines.missing())),
    pytest.mark.slow,
]
NAMES = [f"e{number}" for number in range(6)]
SERVERS, SERVICES = "Recipe 1", "Recipe 2"
OF_ONE_MACHINE: dict[str, Any] = {
    "google_drive": {"remote_name": "lab"},
    "extraction": {"subjects": ["0018"]},
    "processing": {"bandwidth": "200k"},
    "limits": {"max_temp_size_gb": 0.1, "min_free_space_gb": 0},
}


@pytest.fixture
def servers(workspace: Workspace, tmp_path: Path) -> Iterator[Sequence[Machine]]:
    """Have server1 and server2, whose rclone knows the workspace's remote, and share what the page's /nfs is."""
    nfs = tmp_path / "nfs"
    for name in NAMES:
        workspace.put(f"0018/0018_{name}_raw.smc", Tiny(part=name, filler=100_000))
    shutil.copytree(workspace.remote, nfs / "remote")
    nfs.chmod(0o777)  # alice is another account
    try:
        with machines.pretended_machines(2, tmp_path / "machines", nfs) as found:
            for machine in found:
                machine.write(".config/rclone/rclone.conf", "[lab]\ntype = alias\nremote = /nfs/remote\n")
            yield found
    except machines.Unavailable as reason:
        pytest.skip(str(reason))


def did(machine: Machine, command: str, *, user: str = "alice") -> str:
    """Run a command that succeeds; return what it prints."""
    code, output = machine.shell(command, user)
    assert code == 0, f"{command}: {output}"
    return output


def nodes(machine: Machine) -> dict[str, str]:
    """Return the nodes of the run, and how each is."""
    code, output = machine.shell(command_of(SERVERS, "rm360 status") + " --json")
    status = json.loads(output) if code == 0 else {"running": []}  # it fails until the run has made its ledger
    return {node["name"]: node["state"] for run in status["running"] for node in run["progress"].get("nodes", ())}


@pytest.mark.long
def test_two_servers_by_hand_and_then_as_services(
    servers: Sequence[Machine], workspace: Workspace, tmp_path: Path
) -> None:
    first, second = servers
    config = {**OF_ONE_MACHINE, **yaml.safe_load(blocks(SERVERS, "yaml")[0])}
    first.write("lab.yaml", yaml.safe_dump(config))
    _by_hand(first, second)
    assert workspace.run() == 0
    subjects = tmp_path / "nfs" / "lab" / "renderme360" / "subjects"
    assert content(subjects) == content(workspace.output) and len(list(subjects.glob("*/*"))) == len(NAMES)
    _as_services(servers)
    assert content(subjects) == content(workspace.output)


def _by_hand(first: Machine, second: Machine) -> None:
    """Do each command of the page, in its order."""
    on_both, drain = [line for line in commands(SERVERS) if line.startswith("rm360 node --scheduler-file")]
    for command in commands(SERVERS)[: commands(SERVERS).index("rm360 doctor lab.yaml")]:
        did(first, command)
    assert did(second, "stat -c %a .config/rm360/cluster/node.key") == "600\n"
    did(first, "rm360 doctor lab.yaml")
    on_both = on_both.removesuffix("&")
    with first.started(on_both) as one, second.started(on_both) as two:
        with first.started(command_of(SERVERS, "rm360 run")) as run:
            wait_until(lambda: run.has_ended or set(nodes(first)) == {"server1", "server2"}, "both are nodes")
            assert not run.has_ended, run.output
            assert "node server2 finishes" in did(first, drain)
            assert run.wait() == 0, run.output + one.output + two.output
        assert two.wait() == 0, two.output
        first.run("pkill", "-x", "rm360")  # sees the processes of this machine alone
        assert one.wait() in (143, -15), one.output


def _as_services(servers: Sequence[Machine]) -> None:
    """Have the page's unit start the nodes of another run, and end them."""
    section = PAGE.read_text().partition(f"## {SERVICES}")[2]
    found = re.search(r"`(systemctl enable .*?)`", section), re.search(r"`(/etc/systemd/\S+)`", section)
    assert found[0] is not None and found[1] is not None
    enable, unit = found[0][1], found[1][1]
    for machine in servers:
        machine.write(unit, blocks(SERVICES, "ini")[0], "root")
        assert did(machine, f"systemd-analyze verify {unit}", user="root") == ""
        did(machine, enable, user="root")
    did(servers[0], "rm360 run lab.yaml --force")
    for machine in servers:
        assert did(machine, "systemctl is-active rm360-node", user="root") == "active\n"
        did(machine, "systemctl stop rm360-node", user="root")
        _, state = machine.shell("systemctl is-failed rm360-node", "root")
        assert state == "inactive\n", "the end by TERM is no failure"
    log = did(servers[0], "cat /nfs/lab/renderme360/logs/extraction_*.log")
    assert log.count("node server1 has joined") == 2 == log.count("node server2 has joined")
