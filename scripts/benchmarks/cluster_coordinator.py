"""A coordinator whose nodes only answer: the real ledger, pipeline and streams. Prints what it cost as JSON.

Not measured: listing the remote and publishing, which cost the same on one machine.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import anyio
import click

from rm360_async.cluster.coordinator import opened_cluster
from rm360_async.cluster.stages import ClusterStages
from rm360_async.config import Settings, load_settings
from rm360_async.domain.names import Kind, Performance, Structure, output_folder, remote_path
from rm360_async.domain.record import Record, RemoteFile
from rm360_async.domain.retry import RetryPolicy
from rm360_async.domain.selection import selection_for
from rm360_async.domain.stage import Stage
from rm360_async.domain.state import PerformanceRow, PlannedState
from rm360_async.download.accounts import Accounts
from rm360_async.download.rclone import StallPolicy
from rm360_async.extraction.worker_client import ExtractionWorkers
from rm360_async.ledger import ManifestWriter, opened
from rm360_async.pipeline.job import Job
from rm360_async.pipeline.pipeline import run as run_pipeline
from rm360_async.pipeline.scheduler import Scheduler
from rm360_async.stages.job_log import JobLog
from rm360_async.stages.wiring import build_stages


class _Simulated(ClusterStages):
    """The stages of a cluster without a remote and without folders."""

    async def lookup(self, job: Job, row: PerformanceRow) -> PlannedState:
        job.target = output_folder(self.settings.storage.output_dir, job.performance)
        job.selection = selection_for(self.policy, job.performance)
        return PlannedState(Stage.PENDING)

    async def look_up_sources(self, job: Job) -> None:
        path = remote_path(Structure.SINGLE, job.performance, Kind.RAW)
        file = RemoteFile(path, 9, "2026-11-29T00:00:00Z", md5="0" * 32)
        job.remote_files, job.sources = {Kind.RAW: file}, {Kind.RAW: file.source()}
        await self.job_log.record_sources(job)

    async def publish(self, job: Job, record: Record) -> None:
        pass


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--performances", default=0)
@click.option("--nodes", default=4)
@click.option("--idle", default=0.0, help="Seconds in which the nodes have nothing to do.")
def main(folder: Path, performances: int, nodes: int, idle: float) -> None:
    """Measure one coordinator."""
    anyio.run(_measure, folder, performances, nodes, idle, backend_options={"use_uvloop": True})


async def _measure(folder: Path, count: int, nodes: int, idle: float) -> None:
    settings = _settings(folder)
    scheduler, policy = Scheduler(), RetryPolicy()
    async with opened(settings.storage.manifest_path, create=True) as (ledger, claims):
        manifest = ManifestWriter(settings.storage.manifest_path, ledger, claims)
        job_log = JobLog(ledger, claims, await ledger.runs.begin("bench", claims), manifest)
        accounts = Accounts([], StallPolicy(1, 90))
        base = build_stages(settings, job_log, ledger.hints, accounts, scheduler.due_times, ExtractionWorkers())
        planned = [Performance(f"{n // 50:04d}", f"e{n % 50}") for n in range(count)]
        await ledger.add(planned)
        for performance in planned:
            scheduler.update(performance, PlannedState(Stage.PENDING))
        async with opened_cluster(base, ledger, scheduler) as cluster:
            process = _start_nodes(settings, nodes)
            try:
                while len(cluster.nodes.members) < nodes:
                    await cluster.nodes.changed.wait()
                await anyio.sleep(1)
                cpu, wall = time.process_time(), time.monotonic()
                if idle:
                    await anyio.sleep(idle)
                else:
                    stages = _Simulated(**{field.name: getattr(cluster, field.name) for field in fields(cluster)})
                    await run_pipeline(scheduler, stages, stages.width, policy)
                    assert set(scheduler.ended.values()) == {Stage.COMPLETED}
                result = {"cpu": time.process_time() - cpu, "wall": time.monotonic() - wall}
            finally:
                process.terminate()
                process.wait()
    print(json.dumps({**result, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


def _start_nodes(settings: Settings, count: int) -> subprocess.Popen[bytes]:
    program, file = Path(__file__).with_name("cluster_nodes.py"), settings.cluster.scheduler_file
    return subprocess.Popen([sys.executable, str(program), str(file), str(count)])


def _settings(folder: Path) -> Settings:
    path = folder / "config.yaml"
    path.write_text(
        "google_drive: {remote_name: lab}\nextraction: {subjects: all}\nstorage: {output_dir: out/subjects}\n"
        "limits: {max_temp_size_gb: 1, min_free_space_gb: 0}\ncluster: {scheduler_file: cluster.json}\n"
    )
    settings = load_settings(path)
    for each in (settings.storage.output_dir, settings.storage.temp_dir):
        each.mkdir(parents=True)
    return settings


if __name__ == "__main__":
    main()
