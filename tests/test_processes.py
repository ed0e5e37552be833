"""Children are started in sessions of their own, drained, ended and waited for, on both event loops."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from subprocess import PIPE
from typing import Any

import anyio
import pytest
from anyio.abc import Process

from rm360_async.system.processes import Tail, child_process, run_command

STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"
FAMILY = f"""
import subprocess, sys
grandchild = subprocess.Popen([sys.executable, "-c", {STUBBORN!r}], stdout=subprocess.PIPE)
grandchild.stdout.readline()
print(grandchild.pid, flush=True)
grandchild.wait()
"""


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """Run every test on both loops."""
    return "asyncio", {"use_uvloop": request.param}


def is_alive(pid: int) -> bool:
    """Return True if a process runs; a zombie that its parent has not waited for does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


async def first_line(process: Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.receive()).decode().strip()


@pytest.mark.anyio
async def test_a_command_runs_to_its_end_with_code_output_and_errors() -> None:
    program = "import sys; print('out'); sys.stderr.write('err'); sys.exit(3)"
    ended = await run_command([sys.executable, "-c", program])
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, b"out\n", "err")


@pytest.mark.anyio
async def test_endless_errors_without_a_line_are_drained_and_capped() -> None:
    program = "import sys; sys.stderr.write('x' * 2_000_000 + 'end'); print('done')"
    ended = await run_command([sys.executable, "-c", program])
    assert ended.stdout == b"done\n"
    assert len(ended.stderr) == 2**16
    assert ended.stderr.endswith("xend")


@pytest.mark.anyio
async def test_the_environment_is_what_was_given() -> None:
    ended = await run_command([sys.executable, "-c", "import os; print(sorted(os.environ))"], env={"ONLY": "this"})
    assert "ONLY" in ended.stdout.decode()
    assert "HOME" not in ended.stdout.decode()


@pytest.mark.anyio
async def test_a_program_that_does_not_exist_is_reported() -> None:
    ended = await run_command(["/nowhere/rclone"])
    assert ended.returncode == 127
    assert ended.stderr == "cannot start /nowhere/rclone: No such file or directory\n"


@pytest.mark.anyio
async def test_a_death_by_signal_is_visible_through_the_launcher() -> None:
    ended = await run_command([sys.executable, "-c", "import os; os.kill(os.getpid(), 11)"])
    assert ended.returncode == -signal.SIGSEGV


@pytest.mark.anyio
async def test_a_child_has_a_session_of_its_own() -> None:
    async with child_process([sys.executable, "-c", "import os; print(os.getsid(0))"], stdout=PIPE) as process:
        assert int(await first_line(process)) == process.pid != os.getsid(0)
        await process.wait()


@pytest.mark.anyio
@pytest.mark.parametrize("stopped", [False, True])
async def test_leaving_ends_a_child_that_ignores_term_or_is_stopped(stopped: bool) -> None:
    async with child_process([sys.executable, "-c", STUBBORN], stdout=PIPE, grace_seconds=0.05) as process:
        await first_line(process)
        if stopped:
            process.send_signal(signal.SIGSTOP)
    assert process.returncode == -signal.SIGKILL


class NotedGarbage:
    """Part of a cycle; notes which process collects it."""

    def __init__(self, path: Path) -> None:
        self.path, self.itself = path, self

    def __del__(self) -> None:
        with self.path.open("a") as file:
            file.write(f"{os.getpid()}\n")


@pytest.mark.anyio
async def test_a_forked_child_collects_no_garbage_of_its_parent(tmp_path: Path) -> None:
    thresholds = gc.get_threshold()
    gc.set_threshold(50)  # so that the few objects that the child makes would be enough
    try:
        for _ in range(20):
            NotedGarbage(tmp_path / "collectors")
            await run_command([sys.executable, "-c", ""])
    finally:
        gc.set_threshold(*thresholds)
    gc.collect()
    assert set((tmp_path / "collectors").read_text().split()) == {str(os.getpid())}
    assert gc.isenabled()


@pytest.mark.anyio
async def test_cancelling_ends_the_whole_family_and_waits() -> None:
    pids: list[int] = []
    with anyio.CancelScope() as scope:
        async with child_process([sys.executable, "-c", FAMILY], stdout=PIPE, grace_seconds=0.05) as process:
            pids += [process.pid, int(await first_line(process))]
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert process.returncode is not None
    assert not is_alive(pids[0]) and not is_alive(pids[1])


@pytest.mark.anyio
async def test_a_command_that_ended_by_itself_leaves_no_process_behind() -> None:
    leaving = FAMILY.replace("grandchild.wait()", "")
    async with child_process([sys.executable, "-c", leaving], stdout=PIPE) as process:
        grandchild = int(await first_line(process))
        await process.wait()
    assert not is_alive(grandchild)


@pytest.mark.anyio
async def test_a_failing_block_ends_its_child_and_keeps_its_error() -> None:
    with pytest.raises(ZeroDivisionError):
        async with child_process([sys.executable, "-c", STUBBORN], stdout=PIPE, grace_seconds=0.05) as process:
            await first_line(process)
            _ = 1 / 0
    assert process.returncode == -signal.SIGKILL


@pytest.mark.anyio
async def test_a_tail_keeps_the_end() -> None:
    tail = Tail(max_bytes=4)
    async with child_process([sys.executable, "-c", "print('abcdefgh', end='')"], stdout=PIPE) as process:
        await tail.drain(process.stdout)
    await tail.drain(None)
    assert tail.text == "efgh"


PARENT = f"""
import anyio, sys
from subprocess import PIPE
from rm360_async.system.processes import child_process

async def main():
    async with child_process([sys.executable, "-c", {STUBBORN!r}], stdout=PIPE) as process:
        await process.stdout.receive()
        print(process.pid, flush=True)
        await anyio.sleep_forever()

anyio.run(main, backend_options={{"use_uvloop": sys.argv[1] == "True"}})
"""


@pytest.mark.parametrize("use_uvloop", [False, True])
def test_a_child_does_not_outlive_a_killed_parent(use_uvloop: bool) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT, str(use_uvloop)], stdout=PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
        parent.kill()
    while is_alive(pid):
        time.sleep(0.005)


def test_the_launcher_does_not_start_for_a_parent_that_is_gone(tmp_path: Path) -> None:
    launcher = Path(__file__).parent.parent / "rm360_async" / "system" / "_launch.py"
    touched = tmp_path / "touched"
    command = [sys.executable, "-I", "-S", str(launcher), "1", "touch", str(touched)]
    assert subprocess.run(command, check=False).returncode == 127
    assert not touched.exists()
