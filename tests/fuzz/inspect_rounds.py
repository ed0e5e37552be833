"""Rounds with `rm360 inspect`: the same mutated and hostile files, in the command's own process."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path

from fault_injection.result import Case, SuiteResult

from fuzz.file_watch import SECRET, OpenWatch
from fuzz.hdf5_edits import FuzzContext, make_outside_files
from fuzz.hostile import HOSTILE, make_hostile
from fuzz.mutations import MUTATIONS
from fuzz.outputs import output_of
from fuzz.smc_rounds import KINDS, BaseFiles

_MANY = 20_000


@cache
def _base_files(folder: Path) -> BaseFiles:
    for name in ("bases", "outside"):
        shutil.rmtree(folder / name, ignore_errors=True)
    make_outside_files(folder / "outside", SECRET)
    return BaseFiles(folder / "bases")


def run_round(case: Case, folder: Path) -> SuiteResult:
    """Inspect one file: the command prints its content in printable lines, or one line of why it cannot."""
    from rm360_async.cli.inspect import command

    bases, random = _base_files(folder), case.random
    kind = KINDS[case.number % len(KINDS)]
    path, base = folder / "raw.smc", random.randrange(len(bases.paths))
    if kind in HOSTILE:
        shutil.copyfile(bases.paths[base], path)
        make_hostile(path, kind, FuzzContext(random, folder / "outside", _MANY))
    else:
        path.write_bytes(MUTATIONS[kind](bases.contents[base], random))
    with OpenWatch(folder / "outside") as watch:
        text = output_of(lambda: command.main([str(path)], standalone_mode=False))
        as_json = output_of(lambda: command.main([str(path), "--json"], standalone_mode=False))
        opened = watch.opened() - {"."}
    violations = [*text.problems(0, 3), *as_json.problems(0, 3)]
    violations += [f"opened {sorted(opened)}"] if opened else []
    lines = text.stdout.split("\n")
    violations += [f"an unprintable line: {line[:200]!r}" for line in lines if not line.isprintable()][:1]
    violations += [f"a line of {len(line)} characters" for line in lines if len(line) > 5000][:1]
    if as_json.code == 0:
        json.loads(as_json.stdout)
    ended = "inspected" if text.code == 0 else "refused"
    return SuiteResult(case, ended, [f"{kind}: {violation}" for violation in violations], [path])
