"""A real Slurm on one machine for the tests: three nodes for one job each, on loopback, all of it in one folder.

It needs Debian's packages slurmctld, slurmd, slurm-client, munge and slurm-wlm-basic-plugins, and root. Nothing outside
of the folder is used; the daemons are children, which end with the test. Its nodes claim more cores and memory than
there are.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
NODES = 3
_CONFIG = """
ClusterName=rm360test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/run/munge.socket
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2,sched_min_interval=200000
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
SlurmdTimeout=10
KillWait=5
JobRequeue=1
NodeName=n[1-{nodes}] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{last}] CPUs=8 RealMemory=32768
PartitionName=long Nodes=ALL Default=YES MaxTime=1-0 State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=5
PartitionName=urgent Nodes=ALL MaxTime=1-0 State=UP PriorityTier=10 PreemptMode=OFF
"""


def missing() -> str | None:
    """Return why no Slurm can be brought up here, None if one can."""
    if os.geteuid() != 0:
        return "a Slurm of its own needs root"
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"not installed: {', '.join(absent)}" if absent else None


@contextmanager
def running_slurm(folder: Path) -> Iterator[None]:
    """Run a Slurm while the block runs; SLURM_CONF is in the environment for its commands."""
    for name in ("etc", "state", "log", "spool", "run"):
        (folder / name).mkdir(parents=True)
        (folder / name).chmod(0o755)
    before = os.environ.get("SLURM_CONF")
    os.environ["SLURM_CONF"] = str(_write_config(folder))
    try:
        _start(folder)
        yield
    finally:
        _stop(folder)
        os.environ.pop("SLURM_CONF")
        if before is not None:
            os.environ["SLURM_CONF"] = before


def output_of(*command: str) -> str:
    """Return what a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _write_config(folder: Path) -> Path:
    ports = _free_ports(NODES + 1)
    values = {"folder": folder, "host": socket.gethostname().split(".")[0], "nodes": NODES}
    path = folder / "etc" / "slurm.conf"
    path.write_text(_CONFIG.format(port=ports, first=ports + 1, last=ports + NODES, **values))
    key = folder / "etc" / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    (folder / "etc").chmod(0o700)
    return path


def _free_ports(count: int) -> int:
    """Return the first of some ports in a row that are free; by chance, because another worker of pytest wants some."""
    for first in (random.randrange(20_000, 32_000) for _ in range(100)):
        with suppress(OSError):
            for port in range(first, first + count):
                with socket.socket() as listener:
                    listener.bind(("127.0.0.1", port))
            return first
    raise AssertionError("no free ports")


def jobs(state: str = "") -> list[str]:
    """Return the jobs that there are, of those in a state: the id of the array and the number in it, e.g. 7_2."""
    options = ["--states", state] if state else []
    return output_of("squeue", "-h", "--array", "-o", "%F_%K", *options).split()


def node_of(job: str) -> str:
    """Return the node that a job runs on."""
    return output_of("squeue", "-h", "-j", job, "-o", "%N").strip()


def crash(folder: Path, node: str) -> None:
    """Kill all processes of a node at once, as a power cut does."""
    daemon = _daemons.pop((folder, f"slurmd-{node}"))
    daemon.kill()
    daemon.wait()
    processes = _processes_of(folder, node)
    for process in [*(each.parent() for each in processes), *processes]:
        with suppress(psutil.NoSuchProcess):
            if process is not None and process.pid > 1:
                process.kill()


def kill_processes(folder: Path, node: str) -> None:
    """Kill the processes of the jobs on a node, as its kernel does when memory is short."""
    for process in _processes_of(folder, node):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def boot(folder: Path, node: str) -> None:
    """Start the daemon of a node."""
    _start_daemon(folder, f"slurmd-{node}", "slurmd", "-D", "-N", node, "-c")


def start_waiting_jobs() -> None:
    """Have jobs that were queued again start at once: Slurm lets them wait for two minutes."""
    for job in jobs("PENDING"):
        subprocess.run(["scontrol", "update", f"jobid={job}", "starttime=now"], check=False, capture_output=True)


def _processes_of(folder: Path, node: str) -> list[psutil.Process]:
    """Return the processes of the jobs on a node, parents first; the parent of the first is Slurm's own."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            environment = process.environ()
            if environment.get("SLURM_CONF") == str(folder / "etc" / "slurm.conf"):
                found += [process] if environment.get("SLURMD_NODENAME") == node else []
    return sorted(found, key=psutil.Process.create_time)


_daemons: dict[tuple[Path, str], subprocess.Popen[bytes]] = {}
"""Those that run, by the folder of their Slurm and their names."""


def _start_daemon(folder: Path, name: str, *command: str) -> None:
    """Start one in the foreground; if these tests are killed, it ends with them."""
    with (folder / "log" / f"{name}.console").open("ab") as console:
        die_with_parent = ["setpriv", "--pdeathsig", "KILL"]
        _daemons[folder, name] = subprocess.Popen([*die_with_parent, *command], stdout=console, stderr=console)


def _start(folder: Path) -> None:
    run = folder / "run"
    munged = [f"--key-file={folder}/etc/munge.key", f"--socket={run}/munge.socket", "--num-threads=2"]
    munged += [f"--pid-file={run}/munged.pid", f"--log-file={folder}/log/munged.log", f"--seed-file={run}/seed"]
    _start_daemon(folder, "munged", "munged", "--foreground", "--force", *munged)
    _wait_until(lambda: (run / "munge.socket").exists(), "munged answers")
    _start_daemon(folder, "slurmctld", "slurmctld", "-D", "-c")
    _wait_until(lambda: _answers("scontrol", "ping"), "slurmctld answers")  # a slurmd asks it once
    for number in range(1, NODES + 1):
        boot(folder, f"n{number}")
    _wait_until(lambda: _idle_nodes() == NODES, "all nodes are idle")


def _idle_nodes() -> int:
    return int(output_of("sinfo", "-h", "-p", "long", "-t", "idle", "-o", "%D").strip() or 0)


def _answers(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _wait_until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.1)


def _stop(folder: Path) -> None:
    with suppress(subprocess.CalledProcessError, AssertionError):
        output_of("scancel", "--user", "root")
        _wait_until(lambda: not jobs(), "no job is left")
    own = [_daemons.pop(key) for key in list(_daemons) if key[0] == folder]
    for number in (signal.SIGTERM, signal.SIGKILL):
        for daemon in own:
            daemon.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            for daemon in own:
                daemon.wait(3)
