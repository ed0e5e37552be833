"""What strangers can reach: who has no key is sent away before anything that it says is read."""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from cluster_checks import NAMES, assert_as_on_one_machine, fill
from cluster_processes import ClusterNode, coordinator, scheduler_file
from distributed.protocol.core import dumps
from distributed.protocol.serialize import ToPickle
from instance import Instance, barrier_at, wait_until, wait_until_reached
from workspace import Workspace

from rm360_async.cli.main import main


@pytest.fixture
def filled(workspace: Workspace) -> Workspace:
    """Return a workspace with some performances on its remote."""
    return fill(workspace)


class _MakesFolder:
    """An object whose pickle makes a folder when it is loaded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def listening_addresses(pid: int) -> set[tuple[str, int]]:
    """Return the addresses and ports at which a process listens; the address is "any" for IPv6."""
    sockets = {os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                host, port = fields[1].split(":")
                address = str(ipaddress.ip_address(bytes.fromhex(host)[::-1])) if table == "tcp" else "any"
                found.add((address, int(port, 16)))
    return found


@contextmanager
def working_cluster(filled: Workspace, **settings: Any) -> Iterator[tuple[Instance, ClusterNode]]:
    """Have a run and a node that is extracting; both end well afterwards."""
    barrier, hook = barrier_at(filled, "opened", "part opened")
    with coordinator(filled, **settings) as run, ClusterNode(filled, "n1", hooks=[hook]) as node:
        wait_until_reached(barrier)
        yield run, node
        barrier.touch()
        assert run.wait() == 0, run.output + filled.log() + node.output
        assert_as_on_one_machine(filled, NAMES, [node])


def say(port: int, payload: bytes, context: ssl.SSLContext | None) -> None:
    """Connect as a stranger does, send bytes, and wait until the connection is closed, or for a moment."""
    with ExitStack() as stack, suppress(OSError):
        connection = stack.enter_context(closing(socket.create_connection(("127.0.0.1", port), 10)))
        connection.settimeout(0.5)
        if context is not None:
            connection = stack.enter_context(closing(context.wrap_socket(connection)))
        connection.sendall(payload)
        while connection.recv(1000):
            pass


def frames_of(message: dict[str, Any]) -> bytes:
    """Return a message as the streams of Dask carry it."""
    frames = [bytes(frame) for frame in dumps(message)]
    lengths = struct.pack("<Q", len(frames)) + b"".join(struct.pack("<Q", len(frame)) for frame in frames)
    text = lengths + b"".join(frames)
    return struct.pack("<Q", len(text)) + text


def test_no_pickle_of_a_stranger_is_read(filled: Workspace) -> None:
    """On loopback any user of this machine may connect; Dask loads the pickles in what it reads, whatever it is."""
    unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    with working_cluster(filled) as (run, node):
        assert scheduler_file(filled).stat().st_mode & 0o777 == 0o600, "it has the keys"
        listening = listening_addresses(run.process.pid) | listening_addresses(node.process.pid)
        assert {address for address, _ in listening} == {"127.0.0.1"}
        for _, port in listening:
            for number, context in enumerate((None, unverified)):
                mark = filled.root / f"mark-{port}-{number}"
                say(port, frames_of({"op": "identity", "x": ToPickle(_MakesFolder(mark))}), context)
        assert not list(filled.root.glob("mark-*"))


def test_keys_of_a_folder_are_needed_and_kept_from_others(filled: Workspace) -> None:
    keys, others = filled.root / "keys", filled.root / "others"
    assert main(["node", "--make-keys", str(keys)]) == 0 == main(["node", "--make-keys", str(others)])
    assert main(["node", "--make-keys", str(keys)]) == 2, "keys are not replaced"
    tls: dict[str, Any] = {"cluster__listen": "tls://127.0.0.1:0", "cluster__tls": str(keys)}
    with (
        ClusterNode(filled, "stranger", "--tls", str(others)) as stranger,
        working_cluster(filled, **tls) as (run, node),
    ):
        listening = listening_addresses(run.process.pid) | listening_addresses(node.process.pid)
        assert {address for address, _ in listening} == {"127.0.0.1"}
        wait_until(lambda: "has other keys" in stranger.output, "the stranger is not answered")
        assert "joined" not in stranger.output
    (keys / "node.key").chmod(0o640)
    with coordinator(filled, **tls) as run:
        assert run.wait() == 3
        assert "others may read" in run.output
