"""Fault hooks for tests that start workers from their own process (see hook/sitecustomize.py)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rm360_async.system import processes, worker_environment

_FOLDER = Path(__file__).resolve().parent / "hook"


def use_hooks(monkeypatch: pytest.MonkeyPatch, *hooks: dict[str, Any]) -> None:
    """Have the workers that this process starts act at fault points."""
    monkeypatch.setenv("RM360_FAULT_HOOKS", json.dumps(hooks))
    monkeypatch.setattr(processes, "LAUNCHER", _FOLDER / "launch.py")
    passed = worker_environment.PASSED_VARIABLES | {"RM360_FAULT_HOOKS", "RCLONE_CONFIG"}
    monkeypatch.setattr(worker_environment, "PASSED_VARIABLES", passed)
