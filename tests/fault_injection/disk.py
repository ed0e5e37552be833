"""Sessions whose disk is full, out of inodes, read-only or broken for a while.

A disturbed run waits (and says so), stops with a message, or continues; once there is space it comes to its end. Every
disturbance is a round.
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
from fault_injection.session import MAX_RUN_SECONDS, Session, kill_all, wait
from fault_injection.small_remote import EARLIER_SELECTION, OriginalRemote

_ON_SMALL_DISK = {
    "fill-step": "another program fills a small disk at a named step, to all but some bytes; sometimes killed then",
    "fill-time": "another program fills a small disk at a random moment",
    "fill-start": "a small disk has space for only some bytes from the start",
    "inodes-step": "another program takes the inodes, all but a few, at a named step",
    "read-only-step": "the disk, its output or its spool becomes read-only at a named step",
}
_PRELOADED = {
    "io-error": "EIO from a call that writes, once or for as long as the run lasts (preloaded)",
    "full-call": "ENOSPC or EDQUOT from a call that writes, once or until the run waits (preloaded)",
    "short-writes": "every other write writes only a part (preloaded)",
}
KINDS = {**_ON_SMALL_DISK, **_PRELOADED, "rclone-write": "EIO or ENOSPC to an rclone that writes (strace)"}
WEIGHTS = {kind: 2 if kind == "fill-step" else 1 for kind in KINDS}
_DISK_BYTES, _DISK_FILES = 16 * 2**20, 3000
_MAX_DISTURBANCES = 4
"""In one session."""
_WAITING_POINTS = ("waiting for space", "failure recorded", "ledger failed")
"""The fault points that a run reaches after it has said that it waits or tries again."""
_WRITES = ("write", "pwrite", "copy_file_range")
_CALLS = (*_WRITES, "create", "fsync", "fdatasync", "syncfs", "ftruncate", "rename", "unlink", "mkdir", "link")
_PROCESSES = ("rm360_async run", "rm360_async.extraction.worker", "rm360_async.download.ranges.worker")
"""Parts of the command lines of the processes that can fail; the last one only runs where ranges are downloaded."""
_STRACE = "strace -f -qq -o /dev/null -e trace=write -e"
_LIBRARY_SOURCE = Path(__file__).with_name("faulty.c")


def originals(root: Path) -> list[OriginalRemote]:
    """Return the remotes: both layouts, larger files, and folders to be completed by ranges."""
    return [
        OriginalRemote(root / "single"),
        OriginalRemote(root / "pair", "separate_anno_raw", fetch_settings=("auto", "ranges")),
        OriginalRemote(root / "larger", filler=30_000),
        OriginalRemote(root / "completed", filler=30_000, fetch_settings=("ranges",), earlier=EARLIER_SELECTION),
    ]


def is_suited(kind: str, original: OriginalRemote) -> bool:
    """Return True if a kind can come on a remote: rclone itself writes only in downloads of whole files."""
    return kind != "rclone-write" or "ranges" not in original.fetch_settings


def unavailable_kinds(folder: Path) -> dict[str, str]:
    """Return the kinds that this system cannot run, each with the reason; `folder` is used to try."""
    reasons = {}
    with pytest.MonkeyPatch.context() as patch:
        try:
            SmallDisk(Workspace(folder, patch), _DISK_BYTES).__exit__()
        except NoSmallDisk as reason:
            reasons.update(dict.fromkeys(_ON_SMALL_DISK, str(reason)))
    if shutil.which("cc") is None:
        reasons.update(dict.fromkeys(_PRELOADED, "there is no C compiler (cc) to build the preloaded library"))
    if shutil.which("strace") is None or subprocess.run(["strace", "-qq", "-e", "trace=none", "true"]).returncode:
        reasons["rclone-write"] = "strace is not installed, or may not trace here"
    return reasons


def run_session(case: Case, workspace: Workspace, original: OriginalRemote) -> Session:
    """Disturb runs until one ends by itself, then finish."""
    with ExitStack() as stack:
        if case.kind in _ON_SMALL_DISK:
            disk = stack.enter_context(SmallDisk(workspace, _DISK_BYTES, _DISK_FILES))
            session = Session(case, workspace, original, disk.hold_work())
            disturb = _make_read_only if case.kind == "read-only-step" else _fill
            _disturb_until_done(session, lambda: disturb(session, disk))
        else:
            session = Session(case, workspace, original)
            disturb_run = _fail_rclones if case.kind == "rclone-write" else _fail_calls
            _disturb_until_done(session, lambda: disturb_run(session))
        session.finish()
        if session.violations and case.kind in _ON_SMALL_DISK:
            shutil.copytree(disk.outside_path, workspace.root / "left", symlinks=True)
    return session


def _disturb_until_done(session: Session, disturb: Callable[[], bool]) -> None:
    """Disturb one run after another, until one has finished everything."""
    while session.rounds < _MAX_DISTURBANCES and not session.violations:
        if not disturb():
            break


def _fill(session: Session, disk: SmallDisk) -> bool:
    """Fill the disk, or take its inodes, during a run; return True if that happened and work is left."""
    what, when = session.case.kind.split("-")
    mark = session.workspace.root / f"full{session.rounds}"
    leave = session.random.choice((0, session.random.randrange(2**16), session.random.randrange(2**20)))
    step, hooks = None, _waiting_hooks(session)
    if when == "step":
        step = session.random.choice(session.steps())
        do = "fill" if what == "fill" else "use_inodes"
        leave = leave if what == "fill" else session.random.randrange(40)
        where = {"path": str(disk.mount_point / "filler"), "leave": leave, "once": str(mark)}
        hooks.append({**step.hook(session.random, do), **where})
    elif when == "start":
        disk.fill(leave)
        mark.touch()
    with session.run(*hooks, fetch=step.fetch if step else "", logging__console_output=True) as run:
        if when == "time":
            with suppress(TimeoutError):
                wait(run, session.random.uniform(0.2, 3))
            disk.fill(leave)
            mark.touch()
        killed = _waits(session, run, mark) and session.random.random() < 1 / 3
        if killed:
            kill_all(session.workspace, session.random)
            _start_on_full_disk(session, mark)
        disk.remove_filler()
        code = session.require_exit(run, 0, 3, *((-signal.SIGKILL,) if killed else ()))
    name = f"{session.case.kind} {step.point if step else ''}".strip()
    if mark.exists():
        session.rounds += 1
        session.hits[name] += 1
    session.check_at_rest(f"{name}, {leave} left")
    return mark.exists() and code != 0


def _start_on_full_disk(session: Session, mark: Path) -> None:
    """Start a run on a full disk, and kill it when it waits."""
    with session.run(*_waiting_hooks(session), logging__console_output=True) as run:
        if _waits(session, run, mark):
            kill_all(session.workspace, session.random)
        else:
            session.require_exit(run, 0, 3)


def _waiting_hooks(session: Session) -> list[Hook]:
    """Return the hooks by which the next run shows that it waits."""
    _waiting_mark(session).unlink(missing_ok=True)
    return [{"point": point, "do": "mark", "path": str(_waiting_mark(session))} for point in _WAITING_POINTS]


def _waiting_mark(session: Session) -> Path:
    return session.workspace.root / "waiting"


def _waits(session: Session, run: Instance, mark: Path) -> bool:
    """Wait until a disturbed run waits for space (True), or ends (False)."""
    end = time.monotonic() + MAX_RUN_SECONDS
    while run.process.poll() is None:
        if mark.exists() and _waiting_mark(session).exists():
            with suppress(TimeoutError):
                wait(run, session.random.uniform(0, 0.5))
            return run.process.poll() is None
        if time.monotonic() > end:
            session.violations.append(f"the run neither ends nor waits: {run.output[-2000:]}")
            return False
        time.sleep(0.01)
    return False


def _make_read_only(session: Session, disk: SmallDisk) -> bool:
    """Make a folder read-only while a run stops at a step; return True if work is left."""
    step, folder = session.random.choice(session.steps()), session.random.choice(("", "subjects", "temp"))
    hook = step.hook(session.random, "barrier")
    place = {key: hook[key] for key in ("point", "side", "nth")}
    barrier, hook = barrier_at(session.workspace, f"barrier{session.rounds}", **place)
    reached = Path(f"{barrier}.reached")
    with session.run(hook, fetch=step.fetch, logging__console_output=True) as run:
        while run.process.poll() is None and not reached.exists():
            time.sleep(0.005)
        if not reached.exists():
            session.require_exit(run, 0)
            return False
        (disk.outside_path / folder).mkdir(exist_ok=True)
        disk.make_read_only(folder)
        barrier.touch()
        code = session.require_exit(run, 0, 3)
        disk.make_writable(folder)
    session.rounds += 1
    session.hits[f"read-only {step.point}"] += 1
    session.check_at_rest(f"{folder or 'all'} read-only at {step.point}")
    return code != 0


def _fail_calls(session: Session) -> bool:
    """Let system calls of a run's processes fail; return True if work is left."""
    random, root = session.random, session.workspace.root
    happened, stopped = root / f"happened{session.rounds}", root / f"stopped{session.rounds}"
    short, full = session.case.kind == "short-writes", session.case.kind == "full-call"
    once = not short and random.random() < 0.5
    has_ranges = "ranges" in session.original.fetch_settings
    process = "rm360_async" if short else random.choice(_PROCESSES[: 3 if has_ranges else 2])
    calls = _WRITES if short else random.choice((_CALLS, _WRITES, (random.choice(_CALLS),)))
    error = 0 if short else random.choice((errno.ENOSPC, errno.EDQUOT)) if full else errno.EIO
    settings = {
        "BELOW": root / "work",
        "CALLS": f",{','.join(calls)},",
        "PROCESS": process,
        "FIRST": 1 if short else random.randint(1, random.choice((1, 3, 10, 30, 100))),
        "ERROR": error,
        "HAPPENED": happened,
        "ONCE": int(once),
        "STOPPED": stopped,
    }
    environment = {f"RM360_FAULTY_{name}": str(value) for name, value in settings.items()}
    environment["LD_PRELOAD"] = str(built_library(root.parent))
    with session.run(*_waiting_hooks(session), environment=environment, logging__console_output=True) as run:
        if full and not once:
            _waits(session, run, happened)
            stopped.touch()
        code = session.require_exit(run, *((0,) if short else (0, 3)))
    session.rounds += happened.exists()
    times = "once" if once else "for long"
    session.check_at_rest(f"errno {error} {times} from {calls} number {settings['FIRST']} of {process}")
    return code != 0


def built_library(folder: Path) -> Path:
    """Return the library to preload, built once."""
    library = folder / "faulty.so"
    if not library.exists():
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(_LIBRARY_SOURCE)], check=True)
    return library


def _fail_rclones(session: Session) -> bool:
    """Let some rclones of one run fail when they write."""
    rclone, folder = RecordingRclone(session.workspace), session.workspace.root / "faults"
    folder.mkdir()
    for number in range(_MAX_DISTURBANCES):
        fault = f"{session.random.choice(('EIO', 'ENOSPC'))}:when={session.random.randint(1, 4)}"
        (folder / f"{number}.fault").write_text(fault)
    rclone.write_script(
        f'for fault in "{folder}"/*.fault; do\n'
        '  if [ "$1" = serve ] && mv "$fault" "$fault.$$" 2>/dev/null; then\n'
        f'    exec {_STRACE} "inject=write:error=$(cat "$fault.$$")" "{rclone.real}" "$@"\n'
        "  fi\ndone"
    )
    with session.run() as run:
        session.require_exit(run, 0)
    session.rounds += sum(1 for path in folder.iterdir() if path.suffix != ".fault")
    rclone.write_script("")
    session.check_at_rest("after its rclones could not write")
    return False
