"""Look again and again until nothing that is looked for is lacking."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rm360_async.blocks import Hole, SparseFile
from rm360_async.errors import BadRequest, Fault

Look = Callable[[], object]
HEAD = 64 * 1024
"""Bytes at the start of a file that every look needs: signature, root group, and what was written first."""


def rounds(look: Look, files: Sequence[SparseFile]) -> Iterator[None]:
    """Look until nothing of the index is wanting; whoever iterates fetches each file's `index` in between.

    Raises what `look` raises once everything that it asked for is here.
    """
    for file in files:
        file.forget_wishes()
        file.want(0, HEAD, index=True)
    while True:
        if any(len(file.index) for file in files):
            yield
        for file in files:
            file.forget_wishes()
        failed: Fault | Hole | BadRequest | None = None
        try:
            look()
        except (Fault, Hole, BadRequest) as error:
            failed = error
        if not any(len(file.index) for file in files):
            if failed is not None:
                raise failed
            return
