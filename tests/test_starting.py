"""Every command, started in both ways; and on streams and in locales that lack the letters of a text."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import h5py
import pytest
from tiny_smc import Tiny
from workspace import Workspace

from rm360_async.cli.main import rm360 as commands

SMC = "0018/0018_e0_raw.smc"
AS_MODULE = [sys.executable, "-m", "rm360_async"]
SCRIPT = """import sys
from rm360_async.cli.program import program
if __name__ == "__main__":
    sys.exit(program())
"""
ARGUMENTS = {
    "run": ["CONFIG"],
    "status": ["CONFIG", "--json"],
    "verify": ["CONFIG", "--deep"],
    "doctor": ["CONFIG"],
    "retry": ["CONFIG"],
    "clean": ["CONFIG", "--yes"],
    "export-manifest": ["CONFIG", "--output", "-"],
    "extract": ["SMC", "--output", "OUTPUT"],
    "inspect": ["SMC"],
    "cameras": ["suggest", "4"],
    "export": ["--list"],
    "report": ["CONFIG", "--output", "OUTPUT"],
    "summary": ["CONFIG"],
    "ls": ["CONFIG", "0018"],
    "init": ["--examples"],
    "node": ["--help"],
    "service": ["CONFIG"],
    "completion": ["bash"],
    "selection": [],
    "demo": ["--help"],
}
LOCALES = {
    "ASCII": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "Latin-1": {"PYTHONIOENCODING": "latin-1"},
    "GBK": {"PYTHONIOENCODING": "gbk:strict"},
}


OWN_PROCESSES = ("run", "verify", "doctor", "extract", "inspect", "report")
"""The commands that start processes of the package, which must not depend on what the main module is."""


def start(*command: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return subprocess.run(command, capture_output=True, env={**environment, **variables}, timeout=300)


@pytest.fixture
def performance(workspace: Workspace) -> Workspace:
    """Yield a workspace with one performance on its remote."""
    workspace.put(SMC, Tiny("0018", "e0"))
    workspace.config()
    return workspace


# --- both ways of starting


def test_each_command_has_arguments_here() -> None:
    assert set(ARGUMENTS) == set(commands.list_commands(None))  # type: ignore[arg-type]


@pytest.mark.slow
def test_both_ways_of_starting_do_the_same(performance: Workspace) -> None:
    script = performance.root / "rm360"
    script.write_text(SCRIPT)
    results: dict[str, list[int]] = {name: [] for name in ARGUMENTS}
    for way, program in (("module", AS_MODULE), ("script", [sys.executable, str(script)])):
        values = {
            "CONFIG": str(performance.root / "config.yaml"),
            "SMC": str(performance.remote / SMC),
        }
        for name in ARGUMENTS if way == "module" else OWN_PROCESSES:
            values["OUTPUT"] = str(performance.root / way / name)
            ended = start(*program, name, *(values.get(argument, argument) for argument in ARGUMENTS[name]))
            assert b"Traceback" not in ended.stderr, ended.stderr.decode()
            results[name].append(ended.returncode)
    assert results == {name: [0, 0] if name in OWN_PROCESSES else [0] for name in ARGUMENTS}
    for way in ("module", "script"):
        assert (performance.root / way / "report" / "0018" / "e0" / "index.html").is_file()


# --- letters that a stream or a locale lacks


@pytest.fixture
def foreign(workspace: Workspace) -> Workspace:
    """Yield a workspace with letters of other alphabets in a source file and in output_dir."""
    path = workspace.put(SMC, Tiny("0018", "e0"))
    with h5py.File(path, "r+") as file:
        file.attrs["color"] = "\u9ec4\u8272 \u2026"
        file.attrs["note"] = b"latin \xe4\xf6"
    workspace.output = workspace.root / "work" / "\u30c7\u30fc\u30bf"
    workspace.config(logging__console_output=True)
    return workspace


@pytest.mark.slow
@pytest.mark.parametrize("locale", LOCALES)
def test_letters_that_a_stream_lacks_are_escaped(foreign: Workspace, locale: str) -> None:
    config, source = str(foreign.root / "config.yaml"), str(foreign.remote / SMC)
    inspected = start(*AS_MODULE, "inspect", source, **LOCALES[locale])
    assert inspected.returncode == 0, inspected.stderr.decode()
    if locale == "Latin-1":  # GBK has the letters, and click writes UTF-8 where a locale is plain ASCII
        assert b"\\u9ec4" in inspected.stdout
    for command in (["run", config], ["status", config], ["verify", config], ["summary", config]):
        ended = start(*AS_MODULE, *command, **LOCALES[locale])
        assert ended.returncode == 0 and b"Traceback" not in ended.stderr, ended.stderr.decode(errors="replace")
    assert (foreign.output / "0018" / "e0" / ".extraction_complete").is_file()


@pytest.mark.slow
def test_a_run_on_a_terminal_of_another_encoding(foreign: Workspace) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environment.update(LOCALES["ASCII"], TERM="xterm")
    reader, terminal = pty.openpty()
    command = [*AS_MODULE, "run", str(foreign.root / "config.yaml")]
    with subprocess.Popen(command, env=environment, stdin=terminal, stdout=terminal, stderr=terminal) as running:
        os.close(terminal)
        shown = b""
        while True:
            try:
                shown += os.read(reader, 65536)
            except OSError:  # EIO: the last writer has closed the terminal
                break
    os.close(reader)
    assert running.returncode == 0 and b"Traceback" not in shown, shown.decode(errors="replace")


@pytest.mark.parametrize("command", ["inspect", "status"])
def test_a_name_that_is_not_text_is_escaped_in_the_message(tmp_path: Path, command: str) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.smc")
    ended = start(*AS_MODULE, command, name)
    assert ended.returncode in (2, 3) and b"Traceback" not in ended.stderr
    assert b"caf\\udce9.smc" in ended.stderr
