"""What the shell gets: exit codes that are about the work, whatever becomes of the output."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_smc import Tiny
from workspace import Workspace

from rm360_async.cli.main import main
from rm360_async.cli.main import rm360 as commands

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = [sys.executable, "-m", "rm360_async"]


def rm360(*arguments: str, stdout: int) -> subprocess.CompletedProcess[str]:
    """Run the program with its results on a descriptor, which is closed then."""
    try:
        return subprocess.run(
            [*PROGRAM, *arguments], stdout=stdout, stderr=subprocess.PIPE, cwd=ROOT, timeout=60, text=True
        )
    finally:
        os.close(stdout)


def rm360_into(output: str, *arguments: str) -> int:
    """Run the program with both its outputs on a file that takes nothing."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    with open(output, "w") as target:
        command = [sys.executable, "-m", "rm360_async", *arguments]
        return subprocess.run(command, stdout=target, stderr=target, cwd=ROOT, env=environment, timeout=60).returncode


def test_a_full_disk_under_the_output_does_not_change_the_exit_code(tmp_path: Path) -> None:
    assert rm360_into("/dev/full", "run", str(tmp_path / "absent.yaml")) == 2
    assert rm360_into("/dev/null", "run", str(tmp_path / "absent.yaml")) == 2


def test_a_full_disk_under_the_results_is_one_line(tmp_path: Path) -> None:
    ended = rm360("cameras", "suggest", "4", stdout=os.open("/dev/full", os.O_WRONLY))
    assert ended.returncode == 3
    assert ended.stderr == "error: cannot write the output: no space left on the disk; free some space\n"


def test_a_run_refuses_another_system_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    assert main(["run"]) == 2
    assert capsys.readouterr().err == "error: rm360 run needs Linux, and this is Darwin; run it on a Linux machine\n"


@pytest.mark.parametrize("closed", [(0,), (1,), (1, 2), (0, 1, 2)])
def test_closed_standard_streams_are_no_hindrance(closed: tuple[int, ...], workspace: Workspace) -> None:
    workspace.put("0018/0018_e0_raw.smc", Tiny(part="e0", audio=False))
    shell = " ".join(f"{number}>&-" for number in closed)
    command = ["sh", "-c", f'exec "$0" -m rm360_async run "$1" {shell}', sys.executable, str(workspace.config())]
    assert subprocess.run(command, cwd=ROOT, timeout=120).returncode == 0
    assert workspace.status_of("0018/e0") == "completed"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_before_anything_has_begun_is_a_clean_one(tmp_path: Path, number: signal.Signals) -> None:
    config = tmp_path / "config.yaml"
    os.mkfifo(config)  # the program waits in its opening for somebody who writes
    running = subprocess.Popen([*PROGRAM, "run", str(config)], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    with config.open("w"):  # closed again, because a signal just before the read begins does not interrupt it
        running.send_signal(number)
    assert running.communicate(timeout=60)[1].strip() == "stopped"
    assert running.returncode == 128 + number


STOPPED_WHILE_THE_LOOP_ENDS = """
import asyncio, os, signal, time
from rm360_async.cli.options import run_async

def disturb():  # a thread that the loop's end waits for
    end = time.monotonic() + 2
    while signal.getsignal(signal.SIGINT) is not signal.SIG_IGN and time.monotonic() < end:
        time.sleep(0.001)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(os.getpid(), number)

async def work():
    asyncio.get_running_loop().run_in_executor(None, disturb)
    return 7

print(run_async(work), signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


def test_a_late_stop_does_not_break_off_the_end_of_the_loop() -> None:
    command = [sys.executable, "-c", STOPPED_WHILE_THE_LOOP_ENDS]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "7 True\n", "")


def test_a_watch_may_begin_before_the_run(workspace: Workspace) -> None:
    workspace.put("0018/0018_e0_raw.smc", Tiny(part="e0", audio=False))
    command = [*PROGRAM, "status", str(workspace.config()), "--watch"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None and "there is no ledger" in running.stdout.readline()
        assert workspace.run() == 0
        assert any("1 completed" in line for line in running.stdout)
        running.terminate()


def test_an_empty_environment_is_enough(tmp_path: Path) -> None:
    source = Tiny(part="s1_all", rate=8000).write(tmp_path / "0018_s1_all_raw.smc")
    command = [*PROGRAM, "extract", str(source), "--output", str(tmp_path / "out")]
    ended = subprocess.run(command, cwd=ROOT, env={}, stderr=subprocess.PIPE, text=True, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, "") and (tmp_path / "out/audio/audio.mp3").is_file()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_watch_ends_with_ctrl_c(workspace: Workspace, number: signal.Signals) -> None:
    workspace.put("0018/0018_e0_raw.smc", Tiny(part="e0", audio=False))
    assert workspace.run() == 0
    command = [*PROGRAM, "status", str(workspace.root / "config.yaml"), "--watch"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None and "1 completed" in running.stdout.readline()
        running.send_signal(number)
        assert running.communicate(timeout=60)[1].strip() == "stopped"
    assert running.returncode == 0


@pytest.mark.parametrize("name", commands.list_commands(None))  # type: ignore[arg-type]
def test_every_command_has_help_with_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    said = capsys.readouterr().out
    assert "Usage:" in said and ("Examples:" in said or "Commands:" in said)


@pytest.mark.parametrize("arguments", [["nonsense"], ["run", "--nonsense"], ["extract"], ["run", "a.yaml", "b.yaml"]])
def test_a_bad_command_line_is_one_line_and_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["cameras"]])
def test_no_arguments_show_the_commands(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert "Commands:" in said.out and said.err == ""


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not on this machine")
@pytest.mark.parametrize(
    ("words", "completed"), [("rm360 ex", {"extract", "export-manifest"}), ("rm360 retry --wai", {"--waiting"})]
)
def test_bash_completes_commands_and_options(words: str, completed: set[str], tmp_path: Path) -> None:
    program = tmp_path / "rm360"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m rm360_async "$@"\n')
    program.chmod(0o755)
    script = """
eval "$(rm360 completion bash)"
COMP_WORDS=($WORDS) COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_rm360_completion rm360
printf '%s\\n' "${COMPREPLY[@]}"
"""
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "WORDS": words}
    ended = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    assert completed <= set(ended.stdout.split()), ended.stderr


@pytest.mark.parametrize(("shell", "start"), [("zsh", "#compdef rm360"), ("fish", "function _rm360_completion")])
def test_other_shells_get_a_script_too(shell: str, start: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert capsys.readouterr().out.startswith(start)
    assert main(["completion", "tcsh"]) == 2
    assert "is not one of 'bash', 'zsh', 'fish'" in capsys.readouterr().err
