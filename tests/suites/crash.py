"""Runs that are killed again and again, and what they leave each time.

A case is the life of one small remote: run after run on it is killed, and looked at before the next one goes
on; the run that comes to its end closes the life, and then everything must be there, once. Every kill is a
round. A run in which the named step does not come any more ends by itself, and so ends the life.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from instance import Hook, Instance, Rclone
from lab import Lab

from suites.checks import Seen, gone, look, wrong_at_rest, wrong_at_the_end
from suites.scene import Original, run_on
from suites.steps import SERVICE, STEPS, WORKER
from suites.verdict import Case, Verdict

KILLS = 10
"""In one life, at most."""
KINDS = {
    "group-step": "kill -9 of service, workers and rclones at a named step",
    "service-step": "kill -9 of the service alone at a named step",
    "worker-step": "kill -9 of the worker at a named step",
    "rclone-byte": "kill -9 of an rclone after so many bytes, or while it lists",
    "group-time": "kill -9 of service, workers and rclones at a random moment",
    "service-time": "kill -9 of the service alone at a random moment",
    "worker-time": "kill -9 of a worker at a random moment",
    "rclone-time": "kill -9 of an rclone at a random moment",
}
_SHARE = {"group-step": 4, "service-step": 2, "worker-step": 2, "rclone-byte": 2}
_LONGEST_RUN = 120.0


def lives(seed: int, only: str | None = None, at: int | None = None) -> Iterator[Case]:
    """Yield lives of every kind (or of one) without end, in turn; with `at` this one alone."""
    if only is not None and at is not None:
        yield Case(only, seed, at, "crash")
        return
    turns = [only] if only else [kind for kind in KINDS for _ in range(_SHARE.get(kind, 1))]
    number = 0
    while True:
        Random(f"{seed} {number}").shuffle(turns)
        for kind in turns:
            yield Case(kind, seed, number, "crash")
            number += 1


@dataclass
class Life:
    """One remote from its first run to the one that finishes it."""

    case: Case
    lab: Lab
    original: Original
    violations: list[str] = field(default_factory=list)
    kills: int = 0
    hit: Counter[str] = field(default_factory=Counter)
    seen: Seen = field(default_factory=Seen)

    def __post_init__(self) -> None:
        self.random = self.case.random
        self.width = self.random.choice((1, 2))

    def run(self, *hooks: Hook) -> Instance:
        """Start a run on the remote."""
        return run_on(self.lab, hooks, processing__workers=self.width, processing__downloads=self.width)

    def live(self) -> None:
        """Kill until it is over, then look at everything."""
        who, how = self.case.kind.split("-")
        if who in ("worker", "rclone"):
            {"worker-step": _workers_at_steps, "worker-time": _hunted, "rclone-byte": _rclones, "rclone-time": _hunted}[
                self.case.kind
            ](self)
        else:
            while self.kills < KILLS and not self.violations:
                if not (self._at_a_step(who) if how == "step" else self._at_a_moment(who)):
                    break
        if not self.violations:
            with self.run() as run:
                self.require(run, 0)
            self.rest()
        if not self.violations:
            self.violations += wrong_at_the_end(self.lab, self.original)

    def _at_a_step(self, who: str) -> bool:
        step = self.random.choice(STEPS)
        do = "kill_all" if who == "group" else "kill" if step.side == "service" else "kill_parent"
        hook = step.hook(self.random, do)
        with self.run(hook) as run:
            killed = self.ended(run) == -signal.SIGKILL
            if not killed:
                self.require(run, 0)
        if killed:
            self.kills += 1
            self.hit[step.name] += 1
        self.rest(f"{hook['when']} {step.name}")
        return killed

    def _at_a_moment(self, who: str) -> bool:
        moment = self.random.uniform(0.2, 2.5)
        with self.run() as run:
            with suppress(TimeoutError):
                _wait(run, moment)
            killed = run.process.poll() is None
            if killed and who == "group":
                kill_all(self.lab, self.random)
            elif killed:
                run.kill()
            else:
                self.require(run, 0)
        self.kills += killed
        self.rest(f"after {moment:.2f} s")
        return killed

    def ended(self, run: Instance) -> int:
        """Wait for a run's end; one that does not end is a violation."""
        with suppress(TimeoutError):
            _wait(run, _LONGEST_RUN)
        if run.process.poll() is None:
            self.violations.append(f"the run did not end within {_LONGEST_RUN:.0f} s")
            run.kill()
        return run.process.wait()

    def require(self, run: Instance, code: int) -> None:
        """Note a violation when a run ends otherwise."""
        ended = self.ended(run)
        if ended != code:
            self.violations.append(f"the run ended with {ended}: {run.said[-2000:]}")
        if "Traceback" in run.said:
            self.violations.append(f"a traceback: {run.said[-2000:]}")

    def rest(self, what: str = "at the end") -> None:
        """Look at what is there once all processes are gone."""
        self.violations += [f"{what}: {wrong}" for wrong in gone(self.lab)]
        now = look(self.lab)
        self.violations += [f"{what}: {wrong}" for wrong in wrong_at_rest(self.lab, self.original, self.seen, now)]
        self.seen = now


def _wait(run: Instance, seconds: float) -> None:
    end = time.monotonic() + seconds
    while run.process.poll() is None:
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        time.sleep(min(left, 0.005))


def processes(lab: Lab, word: str = "") -> list[int]:
    """Return the processes of a lab's runs whose command line holds a word, in the order of their start."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal() or int(folder.name) == os.getpid():
            continue
        with suppress(OSError):
            of_us = f"RM360_GROUP={lab.root}\0".encode() in (folder / "environ").read_bytes()
            if of_us and word.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
    return sorted(found)


def kill_all(lab: Lab, random: Random) -> None:
    """Kill every process of a lab's runs, in any order, also those that start meanwhile."""
    while found := processes(lab):
        random.shuffle(found)
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.001)


def _workers_at_steps(life: Life) -> None:
    """Kill several workers of one run, each at a step; the service goes on and tries again."""
    hooks = []
    for number in range(KILLS // 2):
        step = life.random.choice(WORKER)
        hooks.append({**step.hook(life.random, "kill"), "once": str(life.lab.root / f"kill{number}.{step.name}")})
    with life.run(*hooks) as run:
        life.require(run, 0)
    for mark in life.lab.root.glob("kill*.*"):
        life.hit[mark.suffix[1:]] += 1
        life.kills += 1
    life.rest("after its workers were killed")


def _rclones(life: Life) -> None:
    """Let rclone be killed when it has given so many bytes of a file, or while it answers a question."""
    rclone, folder = Rclone(life.lab), life.lab.root / "kills"
    folder.mkdir()
    size = max(path.stat().st_size for path in life.lab.remote.rglob("*.smc"))
    for number in range(KILLS // 2):
        verb = life.random.choice(("cat", "cat", "cat", "lsjson", "backend"))
        (folder / f"{number}.{verb}").write_text(str(life.random.choice((0, 1, life.random.randrange(size), size))))
    rclone.write(
        f'for kill in "{folder}"/*."$1"; do\n'
        '  if mv "$kill" "$kill.$$" 2>/dev/null; then\n'
        '    count=$(cat "$kill.$$")\n'
        f'    if [ "$1" = cat ]; then "{rclone.real}" "$@" --count "$count"\n'
        f'    else "{rclone.real}" "$@" | head -c "$count"; fi\n'
        "    kill -9 $$\n  fi\ndone"
    )
    with life.run() as run:
        life.require(run, 0)
    taken = [path for path in folder.iterdir() if path.suffix not in (".cat", ".lsjson", ".backend")]
    life.kills += len(taken)
    for path in taken:
        life.hit[f"rclone {path.suffixes[0][1:]}"] += 1
    rclone.write("")
    life.rest("after its rclones were killed")


def _hunted(life: Life) -> None:
    """Kill workers, or rclones, of one run wherever they are found."""
    word = "rm360_async.worker" if life.case.kind == "worker-time" else "rclone\0"
    done: set[int] = set()
    end = time.monotonic() + _LONGEST_RUN
    with life.run() as run:
        while run.process.poll() is None and life.kills < KILLS // 2 and time.monotonic() < end:
            found = [pid for pid in processes(life.lab, word) if pid not in done and pid != run.process.pid]
            if found:
                time.sleep(life.random.uniform(0, 0.6 if word != "rclone\0" else 0.1))
                life.kills += _killed(found[0])
                done.add(found[0])
            time.sleep(0.002)
        life.require(run, 0)
    life.rest("after they were killed")


def _killed(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


class Crashes:
    """Does lives; the originals are made once. `hit` counts the kills at each named step."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.originals = [
            Original(root / "single"),
            Original(root / "pair", "separate_anno_raw"),
            Original(root / "larger", filler=30_000),
        ]
        self.hit: Counter[str] = Counter()

    def life(self, case: Case) -> Verdict:
        """Live one life and judge it; its folder stays only when there is something to see."""
        start = time.monotonic()
        root = self.root / f"{case.kind}-{case.number}"
        shutil.rmtree(root, ignore_errors=True)
        original = Random(f"{case.seed} {case.number} remote").choice(self.originals)
        life = Life(case, original.copy(root), original)
        try:
            life.live()
        finally:
            kill_all(life.lab, life.random)
        self.hit += life.hit
        verdict = Verdict(case, "resumed and finished", life.violations, [root], rounds=life.kills)
        verdict.seconds = time.monotonic() - start
        if life.violations:
            verdict.ended = "violation"
        return verdict

    def forget(self, verdict: Verdict) -> None:
        """Remove the folder of a case that was kept elsewhere, or is not needed."""
        for path in verdict.evidence:
            shutil.rmtree(path, ignore_errors=True)


NAMED = frozenset(step.name for step in (*SERVICE, *WORKER))
