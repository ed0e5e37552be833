"""What the shell gets: exit codes that are about the work, whatever becomes of the output."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rm360_async.cli import main
from rm360_async.cli.entry import rm360

ROOT = Path(__file__).resolve().parent.parent


def rm360_into(output: str, *arguments: str) -> int:
    """Run the program with both its outputs on a file that takes nothing."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    with open(output, "w") as target:
        command = [sys.executable, "-m", "rm360_async", *arguments]
        return subprocess.run(command, stdout=target, stderr=target, cwd=ROOT, env=environment, timeout=60).returncode


def test_a_full_disk_under_the_output_does_not_change_the_exit_code(tmp_path: Path) -> None:
    assert rm360_into("/dev/full", "run", str(tmp_path / "absent.yaml")) == 2
    assert rm360_into("/dev/null", "run", str(tmp_path / "absent.yaml")) == 2


@pytest.mark.parametrize("name", rm360.list_commands(None))  # type: ignore[arg-type]
def test_every_command_has_help_with_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    said = capsys.readouterr().out
    assert "Usage:" in said and ("Examples:" in said or "Commands:" in said)


@pytest.mark.parametrize("arguments", [["nonsense"], ["run", "--nonsense"], ["extract"], ["run", "a.yaml", "b.yaml"]])
def test_a_bad_command_line_is_one_line_and_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1


def test_no_arguments_show_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) in (0, 2)
    assert "Commands:" in "".join(capsys.readouterr())
