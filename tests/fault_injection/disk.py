"""Runs whose disk is full, used up, taken away or broken for a while, and what comes of them.

A disturbed run pauses (and says so), stops with a sentence, or goes on; with room made it comes to its end.
Every disturbance is a round.
"""

from __future__ import annotations

import errno
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from instance import Hook, Instance, RecordingRclone, barrier_at
from small_disk import NoSmallDisk, SmallDisk
from workspace import Workspace

from fault_injection.result import Case
from fault_injection.session import LONGEST_RUN, Session, kill_all, wait
from fault_injection.small_remote import LITTLE, Original

_ON_SMALL_DISK = {
    "stranger-step": "a stranger fills a small disk at a named step, to all but some bytes; then killed, now and then",
    "stranger-time": "a stranger fills a small disk at a random moment",
    "stranger-first": "a small disk has room for only some bytes from the start",
    "inodes-step": "a stranger uses up the inodes, to all but a few, at a named step",
    "read-only-step": "the disk, its output or its staging becomes read-only at a named step",
}
_PRELOADED = {
    "io-error": "EIO from a call that writes, once or for as long as the run lasts (preloaded)",
    "full-call": "ENOSPC or EDQUOT from a call that writes, once or until the run pauses (preloaded)",
    "short-writes": "every other write writes only a part (preloaded)",
}
KINDS = {**_ON_SMALL_DISK, **_PRELOADED, "rclone-write": "EIO or ENOSPC to an rclone that writes (strace)"}
SHARES = {kind: 2 if kind == "stranger-step" else 1 for kind in KINDS}
_SIZE, _FILES = 16 * 2**20, 3000
_MOST = 4
"""Disturbances in one life."""
_PAUSES = ("waiting for space", "failure recorded", "ledger failed")
"""The fault points that a run reaches when it has said that it waits or tries again."""
_WRITES = ("write", "pwrite", "copy_file_range")
_CALLS = (*_WRITES, "create", "fsync", "fdatasync", "syncfs", "ftruncate", "rename", "unlink", "mkdir", "link")
_WORDS = ("rm360_async run", "rm360_async.extraction.worker", "rm360_async.download.ranges.worker")
"""What stands in the command line of the processes that are meant; the last comes only where ranges are fetched."""
_STRACE = "strace -f -qq -o /dev/null -e trace=write -e"
_SOURCE = Path(__file__).with_name("faulty.c")


def originals(root: Path) -> list[Original]:
    """Return the remotes: both layouts, larger files, and folders to be completed by ranges."""
    return [
        Original(root / "single"),
        Original(root / "pair", "separate_anno_raw", ways=("auto", "ranges")),
        Original(root / "larger", filler=30_000),
        Original(root / "completed", filler=30_000, ways=("ranges",), earlier=LITTLE),
    ]


def suited(kind: str, original: Original) -> bool:
    """Tell whether a kind can come on a remote: only of whole files does rclone itself write."""
    return kind != "rclone-write" or "ranges" not in original.ways


def lacking(folder: Path) -> dict[str, str]:
    """Return the kinds that cannot be done on this system, each with the reason; `folder` is ours to try in."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        try:
            SmallDisk(Workspace(folder, patch), _SIZE).__exit__()
        except NoSmallDisk as reason:
            found.update(dict.fromkeys(_ON_SMALL_DISK, str(reason)))
    if shutil.which("cc") is None:
        found.update(dict.fromkeys(_PRELOADED, "there is no C compiler (cc) to build what is preloaded"))
    if shutil.which("strace") is None or subprocess.run(["strace", "-qq", "-e", "trace=none", "true"]).returncode:
        found["rclone-write"] = "strace is not installed, or may trace nothing here"
    return found


def live(case: Case, workspace: Workspace, original: Original) -> Session:
    """Disturb until it is over, then look at everything."""
    with ExitStack() as stack:
        if case.kind in _ON_SMALL_DISK:
            disk = stack.enter_context(SmallDisk(workspace, _SIZE, _FILES))
            session = Session(case, workspace, original, disk.hold_work())
            disturb = _taken_away if case.kind == "read-only-step" else _filled
            _until_over(session, lambda: disturb(session, disk))
        else:
            session = Session(case, workspace, original)
            _until_over(session, lambda: (_rclones if case.kind == "rclone-write" else _preloaded)(session))
        session.finish()
        if session.violations and case.kind in _ON_SMALL_DISK:
            shutil.copytree(disk.outside_path, workspace.root / "left", symlinks=True)
    return session


def _until_over(session: Session, disturb: Callable[[], bool]) -> None:
    """Disturb one run after another, until one has done all."""
    while session.rounds < _MOST and not session.violations:
        if not disturb():
            break


def _filled(session: Session, disk: SmallDisk) -> bool:
    """Let a stranger fill the disk, or use up its inodes; tell whether it came to that."""
    what, when = session.case.kind.split("-")
    mark = session.workspace.root / f"full{session.rounds}"
    leave = session.random.choice((0, session.random.randrange(2**16), session.random.randrange(2**20)))
    step, hooks = None, []
    if when == "step":
        step = session.random.choice(session.steps())
        do = "fill" if what == "stranger" else "use_inodes"
        leave = leave if what == "stranger" else session.random.randrange(40)
        where = {"path": str(disk.mount_point / "stranger"), "leave": leave, "once": str(mark)}
        hooks = [{**step.hook(session.random, do), **where}]
    elif when == "first":
        disk.fill(leave)
        mark.touch()
    paused = _marks_of_pauses(session)
    with session.run(*hooks, *paused, way=step.fetch if step else "", logging__console_output=True) as run:
        if when == "time":
            with suppress(TimeoutError):
                wait(run, session.random.uniform(0.2, 3))
            disk.fill(leave)
            mark.touch()
        killed = _pauses(session, run, mark) and session.random.random() < 1 / 3
        if killed:
            kill_all(session.workspace, session.random)
            _begin_full(session, mark)
        disk.remove_filler()
        ended = session.require(run, 0, 3, *((-signal.SIGKILL,) if killed else ()))
    name = f"{session.case.kind} {step.point if step else ''}".strip()
    if mark.exists():
        session.rounds += 1
        session.hit[name] += 1
    session.rest(f"{name}, {leave} left")
    return mark.exists() and ended != 0


def _begin_full(session: Session, mark: Path) -> None:
    """Start a run on a full disk, and kill it when it pauses."""
    with session.run(*_marks_of_pauses(session), logging__console_output=True) as run:
        if _pauses(session, run, mark):
            kill_all(session.workspace, session.random)
        else:
            session.require(run, 0, 3)


def _marks_of_pauses(session: Session) -> list[Hook]:
    """Return the hooks by which the next run shows that it pauses."""
    _paused(session).unlink(missing_ok=True)
    return [{"point": point, "do": "mark", "path": str(_paused(session))} for point in _PAUSES]


def _paused(session: Session) -> Path:
    return session.workspace.root / "paused"


def _pauses(session: Session, run: Instance, mark: Path) -> bool:
    """Wait until a disturbed run pauses (True), or ends (False)."""
    end = time.monotonic() + LONGEST_RUN
    while run.process.poll() is None:
        if mark.exists() and _paused(session).exists():
            with suppress(TimeoutError):
                wait(run, session.random.uniform(0, 0.5))
            return run.process.poll() is None
        if time.monotonic() > end:
            session.violations.append(f"it neither ends nor pauses: {run.output[-2000:]}")
            return False
        time.sleep(0.01)
    return False


def _taken_away(session: Session, disk: SmallDisk) -> bool:
    """Make a folder read-only while a run stands at a step; tell whether there is anything left to do."""
    step, folder = session.random.choice(session.steps()), session.random.choice(("", "subjects", "temp"))
    hook = step.hook(session.random, "barrier")
    barrier, hook = barrier_at(
        session.workspace, f"barrier{session.rounds}", **{key: hook[key] for key in ("point", "side", "nth")}
    )
    reached = Path(f"{barrier}.reached")
    with session.run(hook, way=step.fetch, logging__console_output=True) as run:
        while run.process.poll() is None and not reached.exists():
            time.sleep(0.005)
        if not reached.exists():
            session.require(run, 0)
            return False
        (disk.outside_path / folder).mkdir(exist_ok=True)
        disk.make_read_only(folder)
        barrier.touch()
        ended = session.require(run, 0, 3)
        disk.make_writable(folder)
    session.rounds += 1
    session.hit[f"read-only {step.point}"] += 1
    session.rest(f"{folder or 'all'} read-only at {step.point}")
    return ended != 0


def _preloaded(session: Session) -> bool:
    """Let calls of a run's processes fail; tell whether there is anything left to do."""
    random, root = session.random, session.workspace.root
    told, mended = root / f"told{session.rounds}", root / f"mended{session.rounds}"
    short, full = session.case.kind == "short-writes", session.case.kind == "full-call"
    once = not short and random.random() < 0.5
    word = "rm360_async" if short else random.choice(_WORDS[: 3 if "ranges" in session.original.ways else 2])
    calls = _WRITES if short else random.choice((_CALLS, _WRITES, (random.choice(_CALLS),)))
    error = 0 if short else random.choice((errno.ENOSPC, errno.EDQUOT)) if full else errno.EIO
    settings = {
        "BELOW": root / "work",
        "CALLS": f",{','.join(calls)},",
        "WORD": word,
        "AT": 1 if short else random.randint(1, random.choice((1, 3, 10, 30, 100))),
        "ERROR": error,
        "TOLD": told,
        "ONCE": int(once),
        "MENDED": mended,
    }
    environment = {f"RM360_FAULTY_{name}": str(value) for name, value in settings.items()}
    with session.run(
        *_marks_of_pauses(session),
        environment={**environment, "LD_PRELOAD": str(_built(root.parent))},
        logging__console_output=True,
    ) as run:
        if full and not once:
            _pauses(session, run, told)
            mended.touch()
        ended = session.require(run, *((0,) if short else (0, 3)))
    session.rounds += told.exists()
    session.rest(f"errno {error} {'once' if once else 'for long'} from {calls} number {settings['AT']} of {word}")
    return ended != 0


def _built(folder: Path) -> Path:
    """Return what is preloaded, built once."""
    library = folder / "faulty.so"
    if not library.exists():
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(_SOURCE)], check=True)
    return library


def _rclones(session: Session) -> bool:
    """Let some rclones of one run fail when they write."""
    rclone, folder = RecordingRclone(session.workspace), session.workspace.root / "faults"
    folder.mkdir()
    for number in range(_MOST):
        fault = f"{session.random.choice(('EIO', 'ENOSPC'))}:when={session.random.randint(1, 4)}"
        (folder / f"{number}.fault").write_text(fault)
    rclone.write_script(
        f'for fault in "{folder}"/*.fault; do\n'
        '  if [ "$1" = cat ] && mv "$fault" "$fault.$$" 2>/dev/null; then\n'
        f'    exec {_STRACE} "inject=write:error=$(cat "$fault.$$")" "{rclone.real}" "$@"\n'
        "  fi\ndone"
    )
    with session.run() as run:
        session.require(run, 0)
    session.rounds += sum(1 for path in folder.iterdir() if path.suffix != ".fault")
    rclone.write_script("")
    session.rest("after its rclones could not write")
    return False
