"""Sessions whose runs are killed again and again. Every kill is a round.

A run that no longer reaches the named step ends by itself, and with it the session.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from instance import RecordingRclone, processes_of
from workspace import Workspace

from fault_injection.result import Case
from fault_injection.session import MAX_RUN_SECONDS, Session, kill_all, wait
from fault_injection.small_remote import EARLIER_SELECTION, OriginalRemote
from fault_injection.steps import STEPS

MAX_KILLS = 10
"""In one session."""
KINDS = {
    "group-step": "kill -9 of service, children and rclones at a named step",
    "service-step": "kill -9 of the service alone at a named step",
    "worker-step": "kill -9 of a worker, or of a range worker, at a named step",
    "rclone-byte": "kill -9 of an rclone soon after it began to serve, or while it lists",
    "group-time": "kill -9 of service, children and rclones at a random moment",
    "group-start": "kill -9 of service, children and rclones while the run starts",
    "group-stop": "kill -9 of service, children and rclones while the run stops after TERM or Ctrl-C",
    "service-time": "kill -9 of the service alone at a random moment",
    "worker-time": "kill -9 of a worker, or of a range worker, at a random moment",
    "rclone-time": "kill -9 of an rclone at a random moment",
}
STEP_NAMES = frozenset(step.point for step in STEPS)
_WEIGHTS = {"group-step": 4, "service-step": 2, "worker-step": 2, "rclone-byte": 2, "group-start": 3, "group-stop": 4}
_STOPPED = (0, 128 + signal.SIGINT, 128 + signal.SIGTERM, -signal.SIGINT, -signal.SIGTERM)
"""Exit codes of a stopped run; negative: the signal came before the run could catch it."""
_STOPPED_AT_ONCE = 3
"""The exit code after a second signal."""
_SECOND_SIGNAL = 0.3
"""How often there is one."""
_LARGE_FILLER = 30_000
_SLOW = {"RCLONE_BWLIMIT": "200k"}
"""An environment in which an rclone lives long enough to be found."""


def originals(root: Path) -> list[OriginalRemote]:
    """Return the remotes: both layouts, larger files, files downloaded by ranges, and folders to be completed.

    Where ranges are downloaded, some runs download the whole file instead, and complete what is there.
    """
    return [
        OriginalRemote(root / "single"),
        OriginalRemote(root / "pair", "separate_anno_raw"),
        OriginalRemote(root / "larger", filler=_LARGE_FILLER),
        OriginalRemote(
            root / "ranges", "separate_anno_raw", filler=_LARGE_FILLER, fetch_settings=("ranges", "ranges", "whole")
        ),
        OriginalRemote(
            root / "completed", filler=_LARGE_FILLER, fetch_settings=("ranges", "whole"), earlier=EARLIER_SELECTION
        ),
    ]


def is_suited(kind: str, original: OriginalRemote) -> bool:
    """Return True if a kind of kill can come on a remote: rclone counts bytes of whole files only, and needs time."""
    if kind == "rclone-byte":
        return "ranges" not in original.fetch_settings
    return kind != "rclone-time" or original.filler == _LARGE_FILLER


def run_session(case: Case, workspace: Workspace, original: OriginalRemote) -> Session:
    """Kill runs until one ends by itself, then finish."""
    session = Session(case, workspace, original)
    target, moment = case.kind.split("-")
    if case.kind == "worker-step":
        _kill_workers_at_steps(session)
    elif case.kind == "rclone-byte":
        _kill_rclones_at_bytes(session)
    elif target in ("worker", "rclone"):
        _kill_children_when_found(session)
    else:
        kill: dict[str, Callable[[Session, str], bool]] = {
            "step": _kill_at_step,
            "time": partial(_kill_at_random_time, 0.2, 2.5),
            "start": partial(_kill_at_random_time, 0.0, 0.9),  # imports, claims, the adoption of folders, the plan
            "stop": _kill_at_stop,
        }
        while session.rounds < MAX_KILLS and not session.violations:
            if not kill[moment](session, target):
                break
    session.finish()
    return session


def _kill_at_step(session: Session, target: str) -> bool:
    step = session.random.choice(session.steps())
    do = "kill_all" if target == "group" else "kill" if step.side == "service" else "kill_parent"
    hook = step.hook(session.random, do)
    with session.run(hook, fetch=step.fetch) as run:
        killed = session.wait_for_end(run) == -signal.SIGKILL
        if not killed:
            session.require_exit(run, 0)
    if killed:
        session.rounds += 1
        session.hits[step.point] += 1
    session.check_at_rest(f"at {step.point}")
    return killed


def _kill_at_random_time(earliest: float, latest: float, session: Session, target: str) -> bool:
    seconds = session.random.uniform(earliest, latest)
    with session.run() as run:
        with suppress(TimeoutError):
            wait(run, seconds)
        killed = run.process.poll() is None
        if killed and target == "group":
            kill_all(session.workspace, session.random)
        elif killed:
            run.kill()
        else:
            session.require_exit(run, 0)
    session.rounds += killed
    session.check_at_rest(f"after {seconds:.2f} s")
    return killed


def _kill_at_stop(session: Session, target: str) -> bool:
    """Ask a run to stop, sometimes twice, and kill it before it has, if it is still there."""
    first, *later = session.random.uniform(0.3, 2.5), *sorted(session.random.uniform(0, 0.4) for _ in range(2))
    delays = [first, later[0]] if session.random.random() < _SECOND_SIGNAL else [first]
    with session.run() as run:
        for delay in delays:
            with suppress(TimeoutError):
                wait(run, delay)
            run.signal(session.random.choice((signal.SIGTERM, signal.SIGINT)))
        with suppress(TimeoutError):
            wait(run, later[-1])
        killed = run.process.poll() is None
        if killed:
            kill_all(session.workspace, session.random)
        code = run.process.wait()
        stopped = code in _STOPPED or (code == _STOPPED_AT_ONCE and len(delays) > 1)
        if not killed and not stopped:
            session.violations.append(f"the stopped run ended with {code}: {run.output[-2000:]}")
    through = not killed and code == 0
    session.rounds += not through
    session.check_at_rest(f"{later[-1]:.2f} s after it was told to stop")
    return not through


def _kill_workers_at_steps(session: Session) -> None:
    """Kill several workers (and range workers) of one run, each at a step; the service tries again."""
    child_steps = [step for step in session.steps() if step.side != "service"]
    steps = [session.random.choice(child_steps) for _ in range(MAX_KILLS // 2)]
    hooks = []
    for number, step in enumerate(steps):
        hooks.append(
            {**step.hook(session.random, "kill"), "once": str(session.workspace.root / f"kill{number}.{step.point}")}
        )
    with session.run(*hooks, fetch=max(step.fetch for step in steps)) as run:
        session.require_exit(run, 0)
    for mark in session.workspace.root.glob("kill*.*"):
        session.hits[mark.suffix[1:]] += 1
        session.rounds += 1
    session.check_at_rest("after its workers were killed")


def _kill_rclones_at_bytes(session: Session) -> None:
    """Have rclones killed soon after they began to serve, or after some bytes of their answer to a query."""
    rclone, folder = RecordingRclone(session.workspace), session.workspace.root / "kills"
    folder.mkdir()
    size = max(path.stat().st_size for path in session.workspace.remote.rglob("*.smc"))
    for number in range(MAX_KILLS // 2):
        verb = session.random.choice(("serve", "serve", "serve", "lsjson", "backend"))
        count = session.random.choice((0, 1, session.random.randrange(size), size))
        seconds = session.random.uniform(0, 0.6)
        (folder / f"{number}.{verb}").write_text(f"{seconds:.3f}" if verb == "serve" else str(count))
    rclone.write_script(
        f'for kill in "{folder}"/*."$1"; do\n'
        '  if mv "$kill" "$kill.$$" 2>/dev/null; then\n'
        '    count=$(cat "$kill.$$")\n'
        '    if [ "$1" = serve ]; then (sleep "$count"; kill -9 $$) > /dev/null 2>&1 &\n'
        f'    else "{rclone.real}" "$@" | head -c "$count"; kill -9 $$; fi\n  fi\ndone'
    )
    with session.run() as run:
        session.require_exit(run, 0)
    done = [path for path in folder.iterdir() if path.suffix not in (".serve", ".lsjson", ".backend")]
    session.rounds += len(done)
    for path in done:
        session.hits[f"rclone {path.suffixes[0][1:]}"] += 1
    rclone.write_script("")
    session.check_at_rest("after its rclones were killed")


def _kill_children_when_found(session: Session) -> None:
    """Kill workers and range workers, or rclones, of one run at a random time after they are found."""
    is_rclone = session.case.kind == "rclone-time"
    command_part, max_delay = ("rclone\0", 1.0) if is_rclone else ("rm360_async.", 0.6)
    done: set[int] = set()
    end = time.monotonic() + MAX_RUN_SECONDS
    with session.run(environment=_SLOW if is_rclone else {}) as run:
        while run.process.poll() is None and session.rounds < MAX_KILLS // 2 and time.monotonic() < end:
            running = sorted(processes_of(session.workspace).items())
            candidates = [pid for pid, command in running if command_part in command and pid not in done]
            candidates = [pid for pid in candidates if pid != run.process.pid]
            if candidates:
                with suppress(TimeoutError):
                    wait(run, session.random.uniform(0, max_delay))
                session.rounds += _kill(candidates[0])
                done.add(candidates[0])
            time.sleep(0.002)
        session.require_exit(run, 0)
    session.check_at_rest("after they were killed")


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


WEIGHTS = {kind: _WEIGHTS.get(kind, 1) for kind in KINDS}
"""How often each kind is chosen."""
