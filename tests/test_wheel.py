"""The package as users install it: a wheel in an empty environment has all that the commands need."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PIP = ["-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input"]


def succeed(*command: object, folder: Path) -> str:
    """Run a command without this environment's variables of Python; return what it prints."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    ended = subprocess.run(
        [*map(str, command)], cwd=folder, env=environment, capture_output=True, text=True, timeout=280
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a wheel, built from a copy of the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(ROOT / "rm360_async", source / "rm360_async", symlinks=True, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "config.yaml"):
        shutil.copy(ROOT / name, source / name)
    succeed(sys.executable, *PIP, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, source, folder=folder)
    return next(folder.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_has_every_file_of_the_package(wheel: Path) -> None:
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "rm360_async").rglob("*") if path.is_file()}
    expected = {name for name in files if "__pycache__" not in name}
    with zipfile.ZipFile(wheel) as archive:
        assert {name for name in archive.namelist() if name.startswith("rm360_async/")} == expected
        assert archive.read("rm360_async/config/template.yaml") == (ROOT / "config.yaml").read_bytes()


@pytest.mark.slow
@pytest.mark.rclone
def test_the_demo_runs_from_a_wheel_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    """It takes the packages of the constraints from the index that pip is configured for, or from its cache."""
    venv.create(tmp_path / "env", with_pip=True)
    programs = tmp_path / "env" / "bin"
    constraints = ROOT / "scripts" / "constraints.txt"
    # no byte code of the thousand modules that nothing here imports
    install = [programs / "python", *PIP, "install", "--no-compile", "--constraint", constraints]
    if subprocess.run([*map(str, install), "click"], capture_output=True, timeout=120).returncode != 0:
        pytest.skip("pip reaches no index")
    succeed(*install, wheel, folder=tmp_path)
    shown = succeed(programs / "rm360", "demo", folder=tmp_path)
    assert f"{tmp_path}/rm360-demo/release21/subjects" in shown
    assert "audio" in succeed(programs / "rm360", "init", "--examples", folder=tmp_path)
    assert "ring:N" in succeed(programs / "rm360", "selection", folder=tmp_path)
    config = tmp_path / "rm360-demo" / "release500.yaml"
    assert "[Service]" in succeed(programs / "rm360", "service", config, folder=tmp_path)
    assert succeed(programs / "rm360", "report", config, "--output", "report", folder=tmp_path)
