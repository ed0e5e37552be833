"""The map of the rooms against the imports: arrows go one way, and third-party libraries stay in their rooms."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "rm360_async"

ROWS: list[set[str]] = [
    {"__init__", "errors", "catalog", "lifecycle", "words"},
    {"record", "geometry"},
    {"release"},
    {"plan", "synthetic"},
    {"config", "children", "_launch", "linux", "blocks", "extract_job"},
    {"budget", "rclone", "smc", "ledger", "package", "staging", "logs", "notify", "dialogue"},
    {"modalities"},
    {"extract", "survey", "pictures"},
    {"worker", "workers", "throttle", "ranges"},
    {"agenda", "work"},
    {"pipeline"},
    {"service"},
    {"demo", "doctor"},
    {"cli"},
    {"program"},
    {"__main__"},
]
"""A room imports only from its own row (itself) and the rows above it."""

FENCES: dict[str, set[str]] = {
    "h5py": {"smc", "modalities", "synthetic"},
    "aiosqlite": {"ledger"},
    "sqlite3": {"ledger"},
    "yaml": {"config", "demo"},
    "pydantic": {"config"},
    "pydub": {"modalities"},
    "plyfile": {"modalities"},
    "click": {"cli"},
    "rich": {"service", "cli"},
    "structlog": {"logs", "service"},
    "cv2": {"synthetic", "modalities", "survey", "pictures"},
    "uvloop": {"service", "cli"},
    "xxhash": {"record"},
    "jinja2": {"pictures"},
}
"""Which rooms may import a third-party library (or sqlite3)."""


def room_of(path: Path) -> str:
    """Return the room that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(path: Path) -> list[str]:
    """Return every module that a file imports, anywhere in it."""
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: imports inside the package are absolute"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


def row_of(room: str) -> int:
    """Return the row of a room in the table."""
    rows = [number for number, row in enumerate(ROWS) if room in row]
    assert rows, f"the room {room} is not in the table"
    return rows[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_arrows_go_one_way(path: Path) -> None:
    room = room_of(path)
    for name in imports_of(path):
        if not name.startswith("rm360_async"):
            continue
        parts = name.split(".")
        other = parts[1] if len(parts) > 1 and parts[1] != "__version__" else "__init__"
        assert other == room or row_of(other) < row_of(room), f"{room} may not import {other}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_libraries_stay_in_their_rooms(path: Path) -> None:
    for name in imports_of(path):
        allowed = FENCES.get(name.split(".")[0])
        assert allowed is None or room_of(path) in allowed, f"{room_of(path)} may not import {name}"


def test_the_table_names_only_rooms_that_exist() -> None:
    present = {room_of(path) for path in FILES}
    assert set().union(*ROWS) - present == set()
