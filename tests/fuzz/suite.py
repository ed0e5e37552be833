"""Which rounds there are, and how they are done: the same for the script and for the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from random import Random

import anyio
from anyio.to_thread import run_sync
from fault_injection.result import Case, SuiteResult

from fuzz import batch
from fuzz.hostile import HOSTILE
from fuzz.mutations import MUTATIONS
from fuzz.smc_rounds import KINDS as SMC_KINDS
from fuzz.smc_rounds import SmcRounds

KINDS = (*SMC_KINDS, *batch.KINDS)
FAULTS = {
    **{name: (made.__doc__ or "").splitlines()[0] for name, made in {**MUTATIONS, **HOSTILE}.items()},
    "config": "A config.yaml mutated.",
    "listing": "What rclone lists, mutated: names twice, sizes of 0, names outside the grammar.",
    "ledger": "The ledger, or an earlier MANIFEST.csv, mutated.",
    "inspect": "`inspect` of a mutated file.",
}
"""How each kind is caused."""
_SHARE = {"config": 5, "listing": 5, "ledger": 5, "inspect": 10}
"""Of so many rounds with .smc files, one of these is done beside."""
_MUTATED = 0.7
_WEIGHTS = {"flipped_metadata": 4, "overwritten_metadata": 3, "zeroed_blocks": 2, "crossed_pointers": 3}
_RARE = {"many_cameras": 0.1, "many_frames": 0.1, "hard_bomb": 0.3, "bombs": 0.5, "deep_nesting": 0.3}


@dataclass(frozen=True)
class Plan:
    """What to do: `rounds` with .smc files and their share of the others, or all of one kind, or one round."""

    rounds: int
    seed: int
    only: str | None = None
    at: int | None = None

    def cases(self) -> Iterator[Case]:
        """Yield every round; those with .smc files first."""
        if self.only is not None:
            numbers = range(self.rounds) if self.at is None else range(self.at, self.at + 1)
            yield from (Case(self.only, self.seed, number) for number in numbers)
            return
        random = Random(self.seed)
        made = [kind for kind in SMC_KINDS if kind not in MUTATIONS]
        mutated, others = [_WEIGHTS.get(kind, 1) for kind in MUTATIONS], [_RARE.get(kind, 1) for kind in made]
        for number in range(self.rounds):
            pool = (list(MUTATIONS), mutated) if random.random() < _MUTATED else (made, others)
            yield Case(random.choices(*pool)[0], self.seed, number)
        for kind, share in _SHARE.items():
            yield from (Case(kind, self.seed, number) for number in range(self.rounds // share))


async def carry_out(
    cases: Sequence[Case], root: Path, on_verdict: Callable[[SuiteResult], None], many: int = 200_000, count: int = 2
) -> int:
    """Do the rounds, `count` at once; return how many files plain h5py could say nothing about."""
    root.mkdir(exist_ok=True)
    files = [case for case in cases if case.kind in SMC_KINDS]
    untold = await _do_files(files, root, on_verdict, many, count) if files else 0
    for _, group in groupby((case for case in cases if case.kind in batch.KINDS), lambda case: case.kind):
        await run_sync(_do_batch, list(group), root / "batch", on_verdict)
    return untold


async def _do_files(
    cases: Sequence[Case], root: Path, on_verdict: Callable[[SuiteResult], None], many: int, count: int
) -> int:
    with SmcRounds(root, many, count) as rounds:
        left = iter(cases)

        async def work(slot: int) -> None:
            for case in left:  # shared: each task takes the next one
                on_verdict(await rounds.round(case, slot))

        async with anyio.create_task_group() as tasks:
            for slot in range(count):
                tasks.start_soon(work, slot)
    return rounds.untold


def _do_batch(cases: list[Case], folder: Path, on_verdict: Callable[[SuiteResult], None]) -> None:
    numbers = range(cases[0].number, cases[-1].number + 1)
    for verdict in batch.run_batch(cases[0].kind, cases[0].seed, numbers, folder):
        on_verdict(verdict)
