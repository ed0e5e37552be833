"""Runs that are killed again and again, and what they leave each time. Every kill is a round.

A run in which the named step does not come any more ends by itself, and so ends the life.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from instance import RecordingRclone, processes_of
from workspace import Workspace

from fault_injection.result import Case
from fault_injection.session import LONGEST_RUN, Session, kill_all, wait
from fault_injection.small_remote import LITTLE, Original
from fault_injection.steps import STEPS

KILLS = 10
"""In one life, at most."""
KINDS = {
    "group-step": "kill -9 of service, children and rclones at a named step",
    "service-step": "kill -9 of the service alone at a named step",
    "worker-step": "kill -9 of a worker, or of a scout of ranges, at a named step",
    "rclone-byte": "kill -9 of an rclone after so many bytes, or while it lists",
    "group-time": "kill -9 of service, children and rclones at a random moment",
    "service-time": "kill -9 of the service alone at a random moment",
    "worker-time": "kill -9 of a worker, or of a scout of ranges, at a random moment",
    "rclone-time": "kill -9 of an rclone at a random moment",
}
NAMED = frozenset(step.point for step in STEPS)
_SHARE = {"group-step": 4, "service-step": 2, "worker-step": 2, "rclone-byte": 2}
_LARGE = 30_000
_SLOW = {"RCLONE_BWLIMIT": "200k"}
"""For an rclone to be still there when it is found."""


def originals(root: Path) -> list[Original]:
    """Return the remotes: both layouts, larger files, files that are fetched by ranges, folders to be completed.

    Where ranges are the way, some runs have the whole fetched instead: what is there is filled up then.
    """
    return [
        Original(root / "single"),
        Original(root / "pair", "separate_anno_raw"),
        Original(root / "larger", filler=_LARGE),
        Original(root / "ranges", "separate_anno_raw", filler=_LARGE, ways=("ranges", "ranges", "whole")),
        Original(root / "completed", filler=_LARGE, ways=("ranges", "whole"), earlier=LITTLE),
    ]


def suited(kind: str, original: Original) -> bool:
    """Tell whether a kind of kill can come on a remote: rclone counts bytes of whole files only, and needs time."""
    if kind == "rclone-byte":
        return "ranges" not in original.ways
    return kind != "rclone-time" or original.filler == _LARGE


def live(case: Case, workspace: Workspace, original: Original) -> Session:
    """Kill until it is over, then look at everything."""
    session = Session(case, workspace, original)
    who, how = case.kind.split("-")
    if case.kind == "worker-step":
        _workers_at_steps(session)
    elif case.kind == "rclone-byte":
        _rclones(session)
    elif who in ("worker", "rclone"):
        _hunted(session)
    else:
        while session.rounds < KILLS and not session.violations:
            if not (_at_a_step(session, who) if how == "step" else _at_a_moment(session, who)):
                break
    session.finish()
    return session


def _at_a_step(session: Session, who: str) -> bool:
    step = session.random.choice(session.steps())
    do = "kill_all" if who == "group" else "kill" if step.side == "service" else "kill_parent"
    hook = step.hook(session.random, do)
    with session.run(hook, way=step.fetch) as run:
        killed = session.ended(run) == -signal.SIGKILL
        if not killed:
            session.require(run, 0)
    if killed:
        session.rounds += 1
        session.hit[step.point] += 1
    session.rest(f"at {step.point}")
    return killed


def _at_a_moment(session: Session, who: str) -> bool:
    moment = session.random.uniform(0.2, 2.5)
    with session.run() as run:
        with suppress(TimeoutError):
            wait(run, moment)
        killed = run.process.poll() is None
        if killed and who == "group":
            kill_all(session.workspace, session.random)
        elif killed:
            run.kill()
        else:
            session.require(run, 0)
    session.rounds += killed
    session.rest(f"after {moment:.2f} s")
    return killed


def _workers_at_steps(session: Session) -> None:
    """Kill several workers (and scouts) of one run, each at a step; the service goes on and tries again."""
    of_children = [step for step in session.steps() if step.side != "service"]
    steps = [session.random.choice(of_children) for _ in range(KILLS // 2)]
    hooks = []
    for number, step in enumerate(steps):
        hooks.append(
            {**step.hook(session.random, "kill"), "once": str(session.workspace.root / f"kill{number}.{step.point}")}
        )
    with session.run(*hooks, way=max(step.fetch for step in steps)) as run:
        session.require(run, 0)
    for mark in session.workspace.root.glob("kill*.*"):
        session.hit[mark.suffix[1:]] += 1
        session.rounds += 1
    session.rest("after its workers were killed")


def _rclones(session: Session) -> None:
    """Let rclone be killed when it has given so many bytes of a file, or while it answers a question."""
    rclone, folder = RecordingRclone(session.workspace), session.workspace.root / "kills"
    folder.mkdir()
    size = max(path.stat().st_size for path in session.workspace.remote.rglob("*.smc"))
    for number in range(KILLS // 2):
        verb = session.random.choice(("cat", "cat", "cat", "lsjson", "backend"))
        (folder / f"{number}.{verb}").write_text(
            str(session.random.choice((0, 1, session.random.randrange(size), size)))
        )
    rclone.write_script(
        f'for kill in "{folder}"/*."$1"; do\n'
        '  if mv "$kill" "$kill.$$" 2>/dev/null; then\n'
        '    count=$(cat "$kill.$$")\n'
        f'    if [ "$1" = cat ]; then "{rclone.real}" "$@" --count "$count"\n'
        f'    else "{rclone.real}" "$@" | head -c "$count"; fi\n'
        "    kill -9 $$\n  fi\ndone"
    )
    with session.run() as run:
        session.require(run, 0)
    taken = [path for path in folder.iterdir() if path.suffix not in (".cat", ".lsjson", ".backend")]
    session.rounds += len(taken)
    for path in taken:
        session.hit[f"rclone {path.suffixes[0][1:]}"] += 1
    rclone.write_script("")
    session.rest("after its rclones were killed")


def _hunted(session: Session) -> None:
    """Kill workers and scouts, or rclones, of one run wherever they are found."""
    of_rclone = session.case.kind == "rclone-time"
    word, longest = ("rclone\0", 1.0) if of_rclone else ("rm360_async.", 0.6)
    done: set[int] = set()
    end = time.monotonic() + LONGEST_RUN
    with session.run(environment=_SLOW if of_rclone else {}) as run:
        while run.process.poll() is None and session.rounds < KILLS // 2 and time.monotonic() < end:
            there = sorted(processes_of(session.workspace).items())
            found = [pid for pid, command in there if word in command and pid not in done and pid != run.process.pid]
            if found:
                with suppress(TimeoutError):
                    wait(run, session.random.uniform(0, longest))
                session.rounds += _killed(found[0])
                done.add(found[0])
            time.sleep(0.002)
        session.require(run, 0)
    session.rest("after they were killed")


def _killed(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


SHARES = {kind: _SHARE.get(kind, 1) for kind in KINDS}
"""How often each kind has its turn."""
