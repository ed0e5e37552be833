"""A node and its signals, as a process: under nohup, before it has a run, and twice."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from cluster_checks import fill
from cluster_processes import ClusterNode, coordinator, scheduler_file
from instance import barrier_at, wait_until, wait_until_reached
from workspace import Workspace

from rm360_async.cluster.keys import new_keys
from rm360_async.cluster.scheduler_file import CoordinatorAddress, write_scheduler_file


@pytest.fixture
def silent_run(workspace: Workspace) -> Iterator[None]:
    """Have a scheduler file of a run that takes connections, and never says a word."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        address = f"tls://127.0.0.1:{listener.getsockname()[1]}"
        write_scheduler_file(scheduler_file(workspace), CoordinatorAddress((address,), None, new_keys()))
        yield


def test_what_its_parent_ignores_does_not_end_a_node(workspace: Workspace) -> None:
    with ClusterNode(workspace, "n1", prefix=["nohup"]) as node:
        node.wait_ready()
        node.signal(signal.SIGHUP)
        time.sleep(1)
        assert node.process.poll() is None, node.output
        node.signal(signal.SIGTERM)
        assert node.wait() == 143
        assert "SIGTERM" in node.output and "SIGHUP" not in node.output


@pytest.mark.usefixtures("silent_run")
def test_a_node_that_looks_for_a_run_leaves_at_once(workspace: Workspace) -> None:
    with ClusterNode(workspace, "n1") as node:
        node.wait_ready()
        time.sleep(0.5)  # now it waits for an answer, for five seconds
        began = time.monotonic()
        node.signal(signal.SIGINT)
        assert node.wait() == 130
        assert time.monotonic() - began < 3, node.output


def test_a_node_that_joins_leaves_at_once(workspace: Workspace) -> None:
    """Its remote never answers, so that it does not get to its first job."""
    fill(workspace)
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(30)
        conf = workspace.root / "silent.conf"
        conf.write_text(f"[lab]\ntype = webdav\nurl = http://127.0.0.1:{listener.getsockname()[1]}\n")
        with coordinator(workspace) as run, ClusterNode(workspace, "n1", RCLONE_CONFIG=str(conf)) as node:
            connection, _ = listener.accept()
            with closing(connection):
                began = time.monotonic()
                node.signal(signal.SIGTERM)
                assert node.wait() == 143, node.output
                assert time.monotonic() - began < 5, node.output
            assert "joined" not in node.output
            run.kill()


def test_a_node_leaves_although_the_disk_of_its_scheduler_file_hangs(workspace: Workspace) -> None:
    os.mkfifo(scheduler_file(workspace))  # to open it waits for somebody who writes
    with ClusterNode(workspace, "n1") as node:
        time.sleep(3)
        node.signal(signal.SIGTERM)
        wait_until(lambda: "the node ends" in node.output, f"it ends: {node.output}")
        scheduler_file(workspace).open("wb").close()  # the thread that waits for it is not left behind
        assert node.wait() == 143


def test_a_second_signal_stops_a_node_at_once(workspace: Workspace) -> None:
    fill(workspace)
    barrier, hook = barrier_at(workspace, "extracts", "sealed", side="worker")
    with coordinator(workspace) as run, ClusterNode(workspace, "n1", hooks=[hook]) as node:
        wait_until_reached(barrier)
        node.signal(signal.SIGTERM)
        wait_until(lambda: "a second signal stops at once" in workspace.log(), f"it leaves: {node.output}")
        began = time.monotonic()
        node.signal(signal.SIGTERM)
        assert node.wait() == 3, node.output
        assert time.monotonic() - began < 10
        run.kill()
