"""The staging folders of nodes that were lost: nothing renames them, and what is still written there is of no use."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from rm360_async.domain.errors import Fault
from rm360_async.store.staging import remove_tree
from rm360_async.system.log import logger

log = logger(__name__)


def remove_abandoned(folders: Iterable[Path]) -> None:
    """Remove them, also if a node that hangs has them locked; what cannot be removed is left to the next run.

    First each gets another name: a node that wakes up finds no folder to write to, and the removal is not endless.
    """
    for folder in folders:
        removed = folder.with_name(folder.name.replace(".staging", "-lost.staging"))
        try:
            with suppress(FileNotFoundError):
                folder.rename(removed)
                remove_tree(removed)
                log.info("removed what a lost node was writing", folder=str(folder))
        except (OSError, Fault) as error:
            log.warning(f"cannot remove what a lost node was writing: {error}")
