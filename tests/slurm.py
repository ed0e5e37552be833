"""A real Slurm on one machine for the tests: three nodes of one core each, on loopback, all of it in one folder.

It needs Debian's packages slurmctld, slurmd, slurm-client, munge and slurm-wlm-basic-plugins, and root. Nothing outside
of the folder is used; the daemons are ended by their process ids.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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
NodeName=n[1-{nodes}] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{last}] CPUs=1 RealMemory=2000
PartitionName=work Nodes=ALL Default=YES MaxTime=1-0 State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=5
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
    """Return the first of some ports in a row that are free."""
    for first in range(26817, 60000, 50):
        with suppress(OSError):
            for port in range(first, first + count):
                with socket.socket() as listener:
                    listener.bind(("127.0.0.1", port))
            return first
    raise AssertionError("no free ports")


def _start(folder: Path) -> None:
    run = folder / "run"
    munged = ["munged", f"--key-file={folder}/etc/munge.key", f"--socket={run}/munge.socket", "--num-threads=2"]
    munged += [f"--pid-file={run}/munged.pid", f"--log-file={folder}/log/munged.log", f"--seed-file={run}/seed"]
    subprocess.run([*munged, "--force"], check=True, capture_output=True)
    subprocess.run(["slurmctld", "-c"], check=True, capture_output=True)
    for number in range(1, NODES + 1):
        subprocess.run(["slurmd", "-N", f"n{number}", "-c"], check=True, capture_output=True)
    end = time.monotonic() + 30
    while output_of("sinfo", "-h", "-p", "work", "-t", "idle", "-o", "%D").strip() != str(NODES):
        assert time.monotonic() < end, output_of("sinfo", "-N", "-l")
        time.sleep(0.1)


def _stop(folder: Path) -> None:
    with suppress(subprocess.CalledProcessError):
        output_of("scancel", "--user", "root")
        end = time.monotonic() + 20
        while output_of("squeue", "-h").strip() and time.monotonic() < end:
            time.sleep(0.2)
    pids = [int(path.read_text()) for path in (folder / "run").glob("*.pid")]
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        time.sleep(2)
