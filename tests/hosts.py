"""Pretended hosts on one machine: name spaces for network, host name and mounts, behind a bridge of their own.

Each has a file system of its own at `scratch`; every other path is shared. It needs root and iproute2.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, Protocol, TypeVar

PROGRAMS = ("ip", "unshare", "nsenter", "mount")


class OnNetwork(Protocol):
    """What is on the bridge: a process in whose name spaces `ip` is run."""

    number: int
    address: str

    @property
    def pid(self) -> int:
        """Return the process that holds its name spaces."""

    def run(self, *command: str) -> None:
        """Run a command there."""

    def end(self) -> None:
        """Remove it."""


Kind = TypeVar("Kind", bound=OnNetwork)


class Host:
    """One pretended host, and its address."""

    def __init__(self, number: int, scratch: Path) -> None:
        self.number, self.address = number, f"10.99.0.{number + 1}"
        script = f"hostname host{number}; ip link set lo up"
        script += f'; mount -t tmpfs -o size=256m rm360 "{scratch}"'
        self._holder = subprocess.Popen(
            ["unshare", "--net", "--uts", "--mount", "sh", "-c", f"{script}; echo up; exec sleep 100000"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None and self._holder.stdout.readline() == "up\n"

    @property
    def pid(self) -> int:
        """Return the process that holds its name spaces."""
        return self._holder.pid

    @property
    def enter(self) -> list[str]:
        """Return the command that runs another one on this host."""
        return ["nsenter", f"--target={self.pid}", "--net", "--uts", "--mount"]

    def run(self, *command: str) -> None:
        """Run a command there."""
        subprocess.run([*self.enter, *command], check=True, capture_output=True)

    def mount_sshfs(self, folder: Path, place: Path) -> None:
        """Mount a folder of this machine there as sshfs does from another one, with caches of its own."""
        script = place.parent / "no-ssh"
        script.write_text("#!/bin/sh\nexec /usr/lib/openssh/sftp-server\n")
        script.chmod(0o755)
        options = f"ssh_command={script},dcache_timeout=20"
        self.run("sshfs", "-o", options, f"x:{folder}", str(place))

    def end(self) -> None:
        """Remove it."""
        self._holder.kill()
        self._holder.communicate()


class Hosts(Generic[Kind]):
    """Some hosts, and the bridge between them; `hosts[0]` is meant for the coordinator."""

    def __init__(self, hosts: Sequence[Kind]) -> None:
        self.hosts = hosts
        command = ["unshare", "--net", "sh", "-c", "echo up; exec sleep 100000"]
        self._switch = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._switch.stdout is not None and self._switch.stdout.readline() == "up\n"
        self._on_switch("link", "add", "br0", "type", "bridge")
        self._on_switch("link", "set", "br0", "up")
        for host in self.hosts:
            pair = ["type", "veth", "peer", "name", "eth0", "netns", str(host.pid)]
            self._on_switch("link", "add", f"v{host.number}", *pair)
            self._on_switch("link", "set", f"v{host.number}", "master", "br0", "up")
            host.run("ip", "addr", "add", f"{host.address}/24", "dev", "eth0")
            host.run("ip", "link", "set", "eth0", "up")

    def _on_switch(self, *command: str) -> None:
        subprocess.run(["nsenter", f"--target={self._switch.pid}", "--net", "ip", *command], check=True)

    def cut(self, host: Kind) -> None:
        """Take a host off the network; no connection is closed by that."""
        self._on_switch("link", "set", f"v{host.number}", "down")

    def reconnect(self, host: Kind) -> None:
        """Bring it back."""
        self._on_switch("link", "set", f"v{host.number}", "up")

    def end(self) -> None:
        """Remove all of them."""
        for host in self.hosts:
            host.end()
        self._switch.kill()
        self._switch.communicate()


def missing(*more: str) -> str | None:
    """Return why there can be no such hosts here, None if there can be; `more`: programs that are needed too."""
    if os.geteuid() != 0:
        return "pretended hosts need root"
    absent = [name for name in (*PROGRAMS, *more) if shutil.which(name) is None]
    return f"not installed: {', '.join(absent)}" if absent else None


@contextmanager
def pretended_hosts(count: int, scratch: Path) -> Iterator[Hosts[Host]]:
    """Have so many hosts while the block runs; `scratch` is the folder that is a disk of its own on each."""
    scratch.mkdir()
    hosts = Hosts([Host(number, scratch) for number in range(count)])
    try:
        yield hosts
    finally:
        hosts.end()
