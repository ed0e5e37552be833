"""Fixtures that every room's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab import Lab


@pytest.fixture
def anyio_backend() -> str:
    """Run async tests on asyncio."""
    return "asyncio"


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """Give a lab with an empty local remote."""
    return Lab(tmp_path, monkeypatch)
