"""A remote of the simulated world: the real `Remote` with its three ways to the outside replaced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import anyio

from rm360_async.domain.clock import Clock
from rm360_async.domain.errors import Cause, Fault
from rm360_async.domain.names import Performance, Structure
from rm360_async.domain.record import RemoteFile
from rm360_async.download.account import Account as RealAccount
from rm360_async.download.accounts import Accounts
from rm360_async.download.rclone import Remote, RemoteListing
from rm360_async.download.recent_files import RecentFiles
from rm360_async.download.throttle import Throttle
from simulation.accounts import Account
from simulation.line import Transfer

if TYPE_CHECKING:
    from simulation.process import Process

_NO_ANSWER_SECONDS = 20.0
_STALL_SECONDS = 90.0
_PASSING = (Cause.NETWORK, Cause.NETWORK, Cause.STALL, Cause.TRUNCATED, Cause.SERVER_ERROR)


class SimulatedRemote(Remote):
    """An account as one simulated process reaches it."""

    def __init__(self, account: Account, process: Process) -> None:
        super().__init__(account.name, "", "", {})
        self.account, self.process, self.world = account, process, process.world
        self._dice = Random(f"{self.world.seed} {account.name} {process.name} {process.number}")

    async def check(self) -> None:
        """Look into the remote's folder once."""
        await self._ask("")

    async def list_files(self, structure: Structure, subjects: Sequence[str] | None) -> RemoteListing:
        """Return what the remote holds."""
        await self._ask("")
        return self.world.catalogue.listing(None if subjects is None else set(subjects))

    async def list_beside(self, path: str, *, read: bool = False) -> list[RemoteFile]:
        """Return one file as the remote has it now."""
        await self._ask(path)
        file = self.world.catalogue.by_path.get(path)
        if file is None:
            raise Fault(Cause.NOT_FOUND, f"{path} is not on {self}")
        return [file]

    async def download(self, file: RemoteFile, part: Path, on_bytes: Callable[[int], None]) -> str:
        """Download one file into `part`, going on where an earlier attempt ended."""
        await self._ask(file.path)
        self._require_permission(file.path)
        await self._transfer(file, part, file.size, on_bytes)
        return file.md5 or ""

    async def download_ranges(
        self, file: RemoteFile, sparse: Path, needed: int, on_bytes: Callable[[int], None]
    ) -> int:
        """Download so many bytes of a file, going on where an earlier attempt ended; return how many are there."""
        await self._ask(file.path)
        self._require_permission(file.path)
        await self._transfer(file, sparse, needed, on_bytes)
        return sparse.stat().st_size

    async def _transfer(self, file: RemoteFile, part: Path, needed: int, on_bytes: Callable[[int], None]) -> None:
        """Let a part grow to the bytes that are needed; raises the Fault that ends it before."""
        size = part.stat().st_size if part.exists() else 0
        part.touch()
        stop, fault = self._fault_in_the_body(file, size, needed)
        began = size

        def grown(size: int) -> None:
            nonlocal began
            self.account.count(size - began, self.world.elapsed())
            began = size
            on_bytes(size)

        on_bytes(size)
        if size < stop:
            await self.world.line.carry(Transfer(part, float(size), stop, grown))
        self.process.require_alive()
        is_over = self.world.calm and file.path not in self.world.poisoned_downloads
        if fault is not None and not (is_over and fault.cause is Cause.MISMATCH):  # which would cost the whole file
            if fault.cause is Cause.STALL:
                await anyio.sleep(_STALL_SECONDS)
            if fault.cause is Cause.MISMATCH:
                part.unlink()
            raise fault

    def _require_permission(self, path: str) -> None:
        """Raise the Fault of an account that does not give a file."""
        planned = self.world.take_planned_fault(path, in_body=False)
        self.world.laws.bytes_asked(self.account.name, path)
        try:
            if planned is not None:
                raise Fault(planned.cause, f"{path} is refused")
            self.account.permit(path, self.world.elapsed())
        except Fault as refusal:
            self.world.note("refused", self.process, path, f"{self.account.name}: {refusal.cause.code}")
            if refusal.cause is Cause.FILE_QUOTA:
                self.world.laws.quota_met(self.account.name, path)
            raise

    async def _ask(self, path: str) -> None:
        """Ask for something, and wait for the answer."""
        self.world.note("request", self.process, path, self.account.name)
        if not self.world.line.up:
            await anyio.sleep(_NO_ANSWER_SECONDS)
            raise Fault(Cause.UNREACHABLE, f"{self} cannot be reached")
        await anyio.sleep(self._dice.uniform(*self.world.scenario.answer_seconds))
        self.process.require_alive()
        try:
            self.account.answer(path, self.world.elapsed(), self._dice)
        except Fault as fault:
            self.world.note("refused", self.process, path, f"{self.account.name}: {fault.cause.code}")
            raise

    def _fault_in_the_body(self, file: RemoteFile, size: int, needed: int) -> tuple[int, Fault | None]:
        """Return up to which byte the body comes this time, and what ends it there.

        Only a whole file can be compared with the md5 of the listing.
        """
        rates, whole = self.world.faults, needed == file.size
        planned = self.world.take_planned_fault(file.path, in_body=True)
        if planned is not None and planned.at is not None:
            return planned.at, Fault(planned.cause, f"{file.path} broke off")
        mismatch = Fault(Cause.MISMATCH, f"{file.path} came with md5 {self._dice.random()}")
        if whole and file.path in self.world.poisoned_downloads:
            return needed, mismatch
        if self.world.calm or self._dice.random() >= rates.body:
            return needed, None
        if whole and self._dice.random() < rates.mismatch_share:
            return needed, mismatch
        cause = self._dice.choice(_PASSING)
        return size + int((needed - size) * self._dice.random()), Fault(cause, f"{file.path} broke off")


class SimulatedAccount(RealAccount):
    """The remote with its real throttle, and the simulated line in the place of the connections."""

    def __init__(self, remote: SimulatedRemote, throttle: Throttle) -> None:
        self.remote, self.throttle = remote, throttle

    async def download(self, file: RemoteFile, path: Path, on_bytes: Callable[[int], None] = lambda _: None) -> str:
        """Download one file over the simulated line."""
        assert isinstance(self.remote, SimulatedRemote)
        return await self.remote.download(file, path, on_bytes)


class SimulatedAccounts(Accounts):
    """The accounts of a simulated process: as many downloads as the scenario says, each when it likes."""

    def __init__(self, accounts: Sequence[SimulatedAccount], clock: Clock) -> None:
        self._accounts = list(accounts)
        self.recent_files = RecentFiles(clock)

    async def wait_for_turn(self) -> None:
        """Return at once."""

    def begin_turn(self, performance: Performance) -> None:
        """Do nothing."""

    def end_turn(self, performance: Performance) -> None:
        """Do nothing."""
