"""What the remotes have, and how a job's whole files get into the spool.

Several remotes are several accounts that see the same release. The first one is asked what there is. Each account
has its own quota for a file, which is noted, and its own permissions; a file is downloaded from the first account
that does not refuse it, and waits only when all do.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from rm360_async.budget import leased_by_others
from rm360_async.domain.clock import SYSTEM_CLOCK, Clock
from rm360_async.domain.errors import Answer, Cause, Fault, Scope
from rm360_async.domain.names import Kind, Performance, Structure, remote_path
from rm360_async.domain.record import RemoteFile
from rm360_async.download import spool
from rm360_async.download.account import Account
from rm360_async.download.accounts import Accounts
from rm360_async.pipeline.job import Job
from rm360_async.pipeline.ports import SourceNotes
from rm360_async.system.disk_threads import on_disk_thread
from rm360_async.system.log import logger
from rm360_async.system.os_errors import os_errors

log = logger(__name__)
_ACCOUNT_ONLY = frozenset({Cause.NOT_FOUND, Cause.FORBIDDEN, Cause.ABUSIVE_FILE, Cause.AUTH, Cause.REMOTE_UNKNOWN})
"""Refusals that another account may not get: it has other permissions, and another login."""


class Downloader:
    """Look up and download the files of jobs, resumably, from the first account that does not refuse."""

    def __init__(
        self,
        accounts: Accounts,
        notes: SourceNotes,
        temp_dir: Path,
        structure: Structure,
        quota_wait: float,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.accounts, self.notes, self.temp_dir = accounts, notes, temp_dir
        self.structure, self.quota_wait, self.clock = structure, quota_wait, clock
        self.fetched_bytes = 0
        """Bytes that crossed the network in this run."""

    async def look_up(self, job: Job, kinds: Sequence[Kind]) -> None:
        """Fill in the job's remote files as they are now, and where they will be in the spool.

        Now is some minutes ago for files with an md5, see `recent_files`.
        """
        for kind in kinds:
            path = remote_path(self.structure, job.performance, kind)
            file = self.accounts.recent_files.take(path) or await self.stat(job, path)
            job.remote_files[kind] = file
            job.sources[kind] = file.source()
            job.spool_paths[kind] = spool.whole_path(self.temp_dir, job.performance, kind, job.sources[kind])

    async def stat(self, job: Job, path: str) -> RemoteFile:
        """Return a file as it is now, from an account that answers: one that is limited slows no lookup down."""
        for account in sorted(self.accounts, key=lambda each: each.throttle.is_slowed_down):
            try:
                async with self.admitted(job, account):
                    files = await account.remote.list_beside(path)
            except Fault as fault:
                failure = fault
                if fault.cause.scope is not Scope.REMOTE:
                    raise
            else:
                self.accounts.recent_files.note(file for file in files if file.path != path)
                return next(file for file in files if file.path == path)
        raise failure

    async def download(self, job: Job) -> None:
        """Download what is not in the spool yet; fills `spooled`, and the md5 of each source."""
        job.progress.total_bytes = job.source_bytes
        done = 0
        await self.remove_outdated(job)
        for kind, whole in job.spool_paths.items():
            source = job.sources[kind]
            with os_errors("write", whole):
                is_there = await on_disk_thread(spool.is_whole, whole)
            if not is_there:
                md5 = await self._download_file(job, job.remote_files[kind], whole, done)
                job.sources[kind] = replace(source, md5=md5)
            done += source.size
            _set_done(job, done)
            job.spooled[kind] = whole

    async def remove_outdated(self, job: Job) -> None:
        """Remove from the spool what came from earlier versions of the remote's files."""
        for kind, whole in job.spool_paths.items():
            await on_disk_thread(self._remove_outdated, job.performance, kind, whole)

    def _remove_outdated(self, performance: Performance, kind: Kind, whole: Path) -> None:
        outdated = spool.outdated_files(self.temp_dir, performance, kind, whole)
        if not outdated:
            return
        with leased_by_others(self.temp_dir, spool.all_paths(whole)) as leased:
            for stale in outdated:
                if stale.name not in leased:
                    log.info("the remote's file has changed, starting over", performance=str(performance))
                    with os_errors("remove", stale):
                        spool.remove(stale)

    def count(self, job: Job, size: int) -> None:
        """Count bytes that have crossed the network."""
        job.fetched_bytes += size
        self.fetched_bytes += size

    @asynccontextmanager
    async def admitted(self, job: Job, account: Account) -> AsyncIterator[Callable[[], None]]:
        """Wait until an account's throttle admits the job, whose note says why; gives what to call on new bytes."""
        job.progress.note = account.throttle.reason
        async with account.throttle.admitted() as on_success:
            job.progress.note = ""
            yield on_success

    async def next_account(self, paths: Sequence[str], refused: dict[str, Fault]) -> Account:
        """Return the first account that refuses none of the files.

        If all do: raises Fault(FILE_QUOTA) until the first quota is reset, else a refusal: of a login, which may pass,
        rather than one that is final.
        """
        waits: list[tuple[float, str]] = []
        for account in sorted(self.accounts, key=lambda each: each.throttle.is_slowed_down):
            if str(account) in refused:
                continue
            quotas = [(await self.notes.quota_until(str(account), path), path) for path in paths]
            used_up = [(until, path) for until, path in quotas if until is not None]
            if not used_up:
                return account
            waits.append(max(used_up))
        if not waits:
            raise sorted(refused.values(), key=lambda fault: fault.cause.answer is Answer.STOP)[-1]
        accounts = "its account" if len(self.accounts) == 1 else f"all {len(self.accounts)} accounts"
        until, path = min(waits)
        raise Fault(Cause.FILE_QUOTA, f"the download quota of {path} is used up for {accounts}", until=until)

    async def handle_refusal(self, account: Account, file: RemoteFile, fault: Fault, refused: dict[str, Fault]) -> None:
        """Note a refusal that concerns this account alone, so that the next one is asked; raise every other fault."""
        if fault.cause is Cause.FILE_QUOTA:
            await self.notes.record_quota(str(account), file.path, self.clock.now() + self.quota_wait)
            log.warning("download quota of this file is used up", remote=str(account), file=file.path)
        elif fault.cause in _ACCOUNT_ONLY and len(self.accounts) > 1:
            refused[str(account)] = fault
            log.warning(str(fault), remote=str(account))
        elif fault.cause is Cause.MISMATCH:
            raise await self._mismatch(file, fault)
        else:
            raise fault

    async def _download_file(self, job: Job, file: RemoteFile, whole: Path, before: int) -> str:
        """Download one file and return its md5; `before` are the bytes of the job's other file."""
        refused: dict[str, Fault] = {}
        sparse = spool.sparse_path(whole)
        with os_errors("write", whole):
            await on_disk_thread(spool.adopt_prefix, whole)
        while True:
            account = await self.next_account([file.path], refused)
            try:
                async with self.admitted(job, account) as on_success:
                    md5 = await account.download(file, sparse, self._counting(job, before, on_success))
            except Fault as fault:
                await self.handle_refusal(account, file, fault, refused)
                continue
            with os_errors("write", whole):
                await on_disk_thread(spool.commit, sparse, whole)
            return md5

    def _counting(self, job: Job, before: int, on_success: Callable[[], None]) -> Callable[[int], None]:
        """Return what takes the bytes that are present of a file as they grow."""
        present: int | None = None

        def on_bytes(size: int) -> None:
            nonlocal present
            _set_done(job, before + size)
            if present is not None and size > present:
                self.count(job, size - present)
                on_success()
            present = size

        return on_bytes

    async def _mismatch(self, file: RemoteFile, fault: Fault) -> Fault:
        """Return the fault itself, or SOURCE_DIFFERS for the second of two that are equal.

        The message holds the md5 that arrived: the same wrong one twice is not an accident of the line. It is stored,
        because a file of hours may see a restart between the two.
        """
        key = f"mismatch {file.path}"
        if await self.notes.get_meta(key) == fault.message:
            hint = "the listing of the remote is wrong, or the file is; report it to its owner"
            return Fault(Cause.SOURCE_DIFFERS, f"{fault.message}, twice the same", hint)
        await self.notes.set_meta(key, fault.message)
        return fault


def _set_done(job: Job, size: int) -> None:
    job.progress.done_bytes = job.spooled_bytes = size
