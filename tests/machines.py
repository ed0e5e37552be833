"""Pretended machines: hosts (see `hosts`) with a root file system, users, processes and a systemd of their own.

The root is an overlay over that of this machine, so that all programs are there and nothing that is written stays. Each
machine has a user alice, in whose `venv` is the environment of the tests; /nfs is the same folder on all. `ssh` is a
stand-in that goes over the pretended network; scp and what it starts at the other end are the real ones.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import hosts
import psutil
from instance import ROOT, TIMEOUT_SECONDS

SYSTEMD = Path("/lib/systemd/systemd")
_TARGETS = ("sysinit", "basic", "network-online", "remote-fs", "multi-user", "shutdown", "machine")
_SETUP = r"""
set -e
mount -t tmpfs -o size=512m rm360 "$disk"
mkdir "$disk/upper" "$disk/work" "$disk/root"
mount -t overlay -o "lowerdir=/,upperdir=$disk/upper,workdir=$disk/work" overlay "$disk/root"
cd "$disk/root"
for each in tmp run dev etc/systemd/system; do mount -t tmpfs rm360 "$each"; done
mount -t proc proc proc
mount --rbind /sys sys
for each in null zero random urandom; do touch "dev/$each"; mount --bind "/dev/$each" "dev/$each"; done
ln -s /proc/self/fd dev/fd
mkdir -p nfs scratch dev/shm
chmod 1777 tmp scratch dev/shm
for each in $visible; do
    mkdir -p ".$each"
    mount --rbind "$each" ".$each"
    above=${each%/*}
    while [ -n "$above" ]; do chmod a+rx ".$above"; above=${above%/*}; done
done
mount --bind "$nfs" nfs
hostname "$name"; echo "$name" > etc/hostname
ip link set lo up
chroot . useradd --create-home --shell /bin/sh alice
ln -s "$venv" home/alice/venv
echo 'PATH=$HOME/venv/bin:$PATH' > home/alice/.profile
for each in $targets; do printf '[Unit]\nDescription=%s\n' "$each" > "etc/systemd/system/$each.target"; done
printf '[Socket]\nListenStream=22\nAccept=yes\n' > etc/systemd/system/sshd.socket
{
    printf '[Service]\nUser=alice\nStandardInput=socket\n'
    echo 'ExecStart=sh -c "cd; read -r command; exec sh -c \"$$command\""'
} > etc/systemd/system/sshd@.service
cat "$ssh" > usr/bin/ssh
echo "$addresses" >> etc/hosts
exec chroot . env -i container=other PATH="$PATH" SYSTEMD_UNIT_PATH=/etc/systemd/system \
    "$systemd" --system --unit=machine.target --log-target=console --log-level=notice --show-status=no
"""
_SSH = r"""#!/bin/bash
subsystem=
while [[ $1 == -* ]]; do
    case $1 in -s) subsystem=1 ;; -o | -l | -p | -i) shift ;; esac
    shift
done
host=$1
shift
[ "$1" = -- ] && shift
command=$*
[ -n "$subsystem" ] && command=/usr/lib/openssh/sftp-server
exec 3<> "/dev/tcp/$host/22"
printf '%s\n' "$command" >&3
if [ -n "$subsystem" ]; then cat <&3 & cat >&3; kill $!; else cat <&3; fi
"""


class Unavailable(Exception):
    """There can be no such machines here; the text says why."""


@dataclass(frozen=True)
class Running:
    """A line of the shell that runs on a machine."""

    text: str
    process: subprocess.Popen[bytes]
    path: Path

    @property
    def output(self) -> str:
        """Return what it has printed so far."""
        return self.path.read_text(errors="replace")

    @property
    def has_ended(self) -> bool:
        """Return True once it has ended."""
        return self.process.poll() is not None

    def wait(self) -> int:
        """Wait for its end; return the exit code."""
        try:
            return self.process.wait(TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.text} did not end; its output:\n{self.output}") from None


class Machine:
    """One pretended machine, called server1, server2 ..."""

    def __init__(self, number: int, folder: Path, nfs: Path, addresses: str) -> None:
        self.number, self.name, self.address = number, f"server{number + 1}", f"10.99.0.{number + 1}"
        disk, self.console, self._cgroups = folder / self.name, folder / f"{self.name}.console", _new_cgroups(folder)
        self._count = 0
        disk.mkdir()
        (folder / "ssh").write_text(_SSH)
        values = {"disk": disk, "name": self.name, "nfs": nfs, "addresses": addresses, "ssh": folder / "ssh"}
        values |= {"venv": sys.prefix, "visible": " ".join({str(ROOT), sys.prefix, sys.base_prefix})}
        values |= {"targets": " ".join(_TARGETS), "systemd": SYSTEMD, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        join = " ".join(f'echo $$ > "{each}/cgroup.procs";' for each in self._cgroups)
        spaces = ["--net", "--uts", "--mount", "--pid", "--ipc", "--cgroup", "--fork", "--kill-child"]
        script = f'{join} exec unshare {" ".join(spaces)} sh -c "$setup"'
        with self.console.open("wb") as console:
            self._holder = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "sh", "-c", script],
                env={**{key: str(value) for key, value in values.items()}, "setup": _SETUP},
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )

    @property
    def pid(self) -> int:
        """Return its first process, as this machine numbers it."""
        return int(psutil.Process(self._holder.pid).children()[0].pid)

    @property
    def enter(self) -> list[str]:
        """Return the command that runs another one there, as root."""
        spaces = ["--net", "--uts", "--mount", "--pid", "--ipc", "--cgroup", "--root", "--wd"]
        return ["nsenter", f"--target={self.pid}", *spaces]

    def run(self, *command: str) -> None:
        """Run a command there as root."""
        subprocess.run([*self.enter, *command], check=True, capture_output=True)

    def shell(self, text: str, user: str = "alice") -> tuple[int, str]:
        """Run a line of the shell there, as a login of a user does; return its exit code, and what it printed."""
        with self.started(text, user) as running:
            return running.wait(), running.output

    @contextmanager
    def started(self, text: str, user: str = "alice") -> Iterator[Running]:
        """Have a line of the shell run there while the block runs; what is left of it goes with the machine."""
        self._count += 1
        output = self.console.with_name(f"{self.name}.{self._count}.out")
        with output.open("wb") as stream:
            command = [*self.enter, "su", "-", user, "-c", text]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
        try:
            yield Running(text, process, output)
        finally:
            process.kill()
            process.wait()

    def write(self, path: str, text: str, user: str = "alice") -> None:
        """Write a file there."""
        command = [*self.enter, "su", "-", user, "-c", f'mkdir -p "$(dirname "{path}")"; cat > "{path}"']
        subprocess.run(command, input=text, text=True, check=True, capture_output=True)

    def wait_booted(self) -> None:
        """Wait until its systemd answers. Raises Unavailable if it ends, or never does."""
        end = time.monotonic() + 10
        while time.monotonic() < end and self._holder.poll() is None:
            with suppress(subprocess.CalledProcessError, IndexError):
                self.run("systemctl", "start", "sshd.socket")
                return
            time.sleep(0.05)
        raise Unavailable(f"no systemd starts here: {self.console.read_text(errors='replace')[-300:].strip()}")

    def end(self) -> None:
        """Kill all that runs there, and remove it."""
        self._holder.kill()  # and with it, by --kill-child, all processes of its name space
        self._holder.wait()
        for folder in self._cgroups:
            _remove_cgroup(folder)


@contextmanager
def pretended_machines(count: int, folder: Path, nfs: Path) -> Iterator[Sequence[Machine]]:
    """Have so many machines while the block runs, on one network. Raises Unavailable where there can be none."""
    if reason := missing():
        raise Unavailable(reason)
    folder.mkdir()
    addresses = "\n".join(f"10.99.0.{number + 1} server{number + 1}" for number in range(count))
    machines = [Machine(number, folder, nfs, addresses) for number in range(count)]
    network = None
    try:
        for machine in machines:
            machine.wait_booted()
        network = hosts.Hosts(machines)
        yield machines
    finally:
        if network is None:
            for machine in machines:
                machine.end()
        else:
            network.end()


def missing() -> str | None:
    """Return why there can be no such machines here, as far as that can be seen; None if there may be."""
    absent = [] if SYSTEMD.exists() and shutil.which("systemctl") else ["systemd"]
    absent += [] if shutil.which("scp") and Path("/usr/lib/openssh/sftp-server").exists() else ["scp, sftp-server"]
    return hosts.missing() or (f"not installed: {', '.join(absent)}" if absent else None)


def _new_cgroups(folder: Path) -> list[Path]:
    """Return new control groups, one in each hierarchy that a systemd uses: it sees nothing above them."""
    made = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        tops = {"name=systemd": ["systemd"], "": ["", "unified"]}.get(controllers, [])
        for top in (Path("/sys/fs/cgroup", name) for name in tops):
            own = top / path.lstrip("/") / f"rm360-{folder.parent.name}-{time.monotonic_ns()}"
            if (own.parent / "cgroup.procs").exists():
                own.mkdir()
                made.append(own)
    return made


def _remove_cgroup(folder: Path) -> None:
    end = time.monotonic() + 5
    while folder.exists() and time.monotonic() < end:  # processes that were killed may still be in it
        for each in sorted(folder.rglob("*"), reverse=True):
            if each.is_dir():
                with suppress(OSError):
                    each.rmdir()
        with suppress(OSError):
            folder.rmdir()
