"""The ledger of a config, and its claims; light, because `status` needs nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rm360_async.config import Settings
from rm360_async.ledger import Claims, Ledger, ledger_path, lock_path


@asynccontextmanager
async def opened(settings: Settings, *, create: bool = False) -> AsyncIterator[tuple[Ledger, Claims]]:
    """Open the ledger beside the manifest, and its claims (only to look at them, unless `create`)."""
    path = ledger_path(settings.storage.manifest_path)
    async with Ledger.open(path, create=create) as ledger:
        with Claims(lock_path(path), look_only=not create) as claims:
            yield ledger, claims
