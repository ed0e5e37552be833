"""The rounds of the suite, and how they are run: the same for the script and for the tests."""

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
    "ledger": "The ledger, mutated.",
    "inspect": "`inspect` of a mutated file.",
}
"""How each kind of fault is caused."""
_FILES_PER_ROUND = {"config": 5, "listing": 5, "ledger": 5, "inspect": 10}
"""How many rounds with .smc files there are for one round of these kinds."""
_MUTATED_SHARE = 0.7
"""Of the rounds with .smc files; the others have hostile files."""
_MUTATION_WEIGHTS = {"flipped_metadata": 4, "overwritten_metadata": 3, "zeroed_blocks": 2, "crossed_pointers": 3}
_HOSTILE_WEIGHTS = {"many_cameras": 0.1, "many_frames": 0.1, "hard_bomb": 0.3, "bombs": 0.5, "deep_nesting": 0.3}


@dataclass(frozen=True)
class Plan:
    """The rounds to run: `rounds` with .smc files and the others in proportion, or only one kind, or one round."""

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
        hostile = list(HOSTILE)
        mutation_weights = [_MUTATION_WEIGHTS.get(kind, 1) for kind in MUTATIONS]
        hostile_weights = [_HOSTILE_WEIGHTS.get(kind, 1) for kind in hostile]
        for number in range(self.rounds):
            is_mutated = random.random() < _MUTATED_SHARE
            pool = (list(MUTATIONS), mutation_weights) if is_mutated else (hostile, hostile_weights)
            yield Case(random.choices(*pool)[0], self.seed, number)
        for kind, files in _FILES_PER_ROUND.items():
            yield from (Case(kind, self.seed, number) for number in range(self.rounds // files))


async def run_rounds(
    cases: Sequence[Case], root: Path, on_result: Callable[[SuiteResult], None], many: int = 200_000, count: int = 2
) -> int:
    """Run the rounds, `count` at once; return how many successes could not be verified, as plain h5py failed too."""
    root.mkdir(exist_ok=True)
    files = [case for case in cases if case.kind in SMC_KINDS]
    unverified = await _run_file_rounds(files, root, on_result, many, count) if files else 0
    for _, group in groupby((case for case in cases if case.kind in batch.KINDS), lambda case: case.kind):
        await run_sync(_run_batch, list(group), root / "batch", on_result)
    return unverified


async def _run_file_rounds(
    cases: Sequence[Case], root: Path, on_result: Callable[[SuiteResult], None], many: int, count: int
) -> int:
    with SmcRounds(root, many, count) as rounds:
        remaining = iter(cases)

        async def run_slot(slot: int) -> None:
            for case in remaining:  # shared: each task takes the next one
                on_result(await rounds.run_round(case, slot))

        async with anyio.create_task_group() as tasks:
            for slot in range(count):
                tasks.start_soon(run_slot, slot)
    return rounds.unverified


def _run_batch(cases: list[Case], folder: Path, on_result: Callable[[SuiteResult], None]) -> None:
    numbers = range(cases[0].number, cases[-1].number + 1)
    for result in batch.run_batch(cases[0].kind, cases[0].seed, numbers, folder):
        on_result(result)
