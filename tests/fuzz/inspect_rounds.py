"""Rounds with `rm360 inspect`: the same mutated and hostile files, in the command's own process."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path

from fault_injection.result import Case, SuiteResult

from fuzz.commands import said
from fuzz.decoys import SECRET, Watch
from fuzz.hostile import HOSTILE, spoil
from fuzz.mutations import MUTATIONS
from fuzz.smc_rounds import KINDS, Bases
from fuzz.trap import Trap, make_decoys


@cache
def _prepared(folder: Path) -> Bases:
    for name in ("bases", "outside"):
        shutil.rmtree(folder / name, ignore_errors=True)
    make_decoys(folder / "outside", SECRET)
    return Bases(folder / "bases")


def one(case: Case, folder: Path) -> SuiteResult:
    """Look into one file: what it holds in printable lines, or one line of why not."""
    from rm360_async.cli.inspect import command

    bases, random = _prepared(folder), case.random
    kind = KINDS[case.number % len(KINDS)]
    path, base = folder / "raw.smc", random.randrange(len(bases.paths))
    if kind in HOSTILE:
        shutil.copyfile(bases.paths[base], path)
        spoil(path, kind, Trap(random, folder / "outside", 20_000))
    else:
        path.write_bytes(MUTATIONS[kind](bases.wholes[base], random))
    with Watch(folder / "outside") as watch:
        text = said(lambda: command.main([str(path)], standalone_mode=False))
        structured = said(lambda: command.main([str(path), "--json"], standalone_mode=False))
        opened = watch.opened() - {"."}
    wrong = [*text.wrong(0, 3), *structured.wrong(0, 3)]
    wrong += [f"opened {sorted(opened)}"] if opened else []
    wrong += [f"an unprintable line: {line[:200]!r}" for line in text.stdout.split("\n") if not line.isprintable()][:1]
    wrong += [f"a line of {len(line)} characters" for line in text.stdout.split("\n") if len(line) > 5000][:1]
    if structured.code == 0:
        json.loads(structured.stdout)
    return SuiteResult(
        case, f"{'told' if text.code == 0 else 'refused'}", [f"{kind}: {each}" for each in wrong], [path]
    )
