"""Checks of a config's cluster: the library, the keys, the address, the file in which nodes find the run."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

from rm360_async.cluster.key_files import require_keys
from rm360_async.cluster.requirements import INSTALL, has_dask
from rm360_async.commands.doctor.result import CheckResult, fail, fail_of, ok, warn
from rm360_async.config import Settings
from rm360_async.config.parsers import host_and_port
from rm360_async.domain.errors import Fault
from rm360_async.service.run_plan import nearest_existing
from rm360_async.system.mounts import file_system, is_network


def check_cluster(settings: Settings) -> Iterator[CheckResult]:
    """Yield the checks of a run on several machines; none without `cluster:`."""
    cluster = settings.cluster
    if cluster.scheduler_file is None:
        return
    if not has_dask():
        yield fail("cluster", "Dask.distributed is not installed", INSTALL)
    folder = nearest_existing(cluster.scheduler_file.parent)  # a run creates what is missing
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        yield ok("cluster", f"nodes find the run by {cluster.scheduler_file}")
    else:
        yield fail("cluster", f"cannot write in {folder}", "check cluster.scheduler_file")
    if cluster.tls is not None:
        try:
            require_keys(cluster.tls)
            yield ok("cluster", f"keys in {cluster.tls}")
        except Fault as fault:
            yield fail_of("cluster", fault)
    yield from _check_folders(settings)
    yield _check_address(cluster.listen)


def _check_folders(settings: Settings) -> Iterator[CheckResult]:
    if is_network(file_system(settings.storage.manifest_path.parent)):
        text = f"the ledger beside {settings.storage.manifest_path} is on a network file system: a run refuses it"
        yield fail("cluster", text, "set storage.manifest_path to a disk of this machine")
    output_dir = settings.storage.output_dir
    if not settings.cluster.is_on_loopback and not is_network(file_system(output_dir)):
        text = f"output_dir {output_dir} is on a disk of this machine, which nodes elsewhere have to mount"
        yield warn("cluster", text, "share it, e.g. by NFS, under the same path")
    if not settings.cluster.temp_dir:
        yield warn("cluster", "cluster.temp_dir is not set", "set it, or give each node --temp-dir")


def _check_address(listen: str) -> CheckResult:
    host, port = host_and_port(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
    except OSError as error:
        hint = "a run may be active; else choose another port, or 0 for any free one"
        return warn("cluster", f"cannot listen on {listen}: {error.strerror or error}", hint)
    return ok("cluster", f"can listen on {listen}")
