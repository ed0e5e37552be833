"""The layers and the fences: imports go one way, and libraries stay in the rooms that need them."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "rm360_async"

LAYERS: list[set[str]] = [
    {"domain"},  # rules and values, no I/O
    {"system", "config"},  # the machine; the config file
    {"store", "smc", "budget", "synthetic"},  # formats and the disk budget
    {"dataset"},  # published folders as typed values
    {"__init__"},  # the package's face
    {"ledger", "extraction", "visualization", "pipeline", "export"},  # capabilities that know no network
    {"download"},
    {"stages"},
    {"cluster"},  # one run on several machines
    {"service"},
    {"commands"},
    {"cli"},
    {"__main__"},
]
"""A room imports from itself and from the layers above it in this list."""

FENCES: dict[str, set[str]] = {
    "aiofiles": {"download"},
    "numpy": {"domain", "smc", "dataset", "extraction", "export", "visualization", "synthetic"},
    "h5py": {"smc", "synthetic"},
    "cv2": {"dataset", "export", "visualization", "synthetic"},
    "sqlite3": {"ledger"},
    "aiosqlite": {"ledger"},
    "yaml": {"config", "commands"},
    "pydantic": {"config"},
    "click": {"cli"},
    "rich": {"service", "commands"},
    "structlog": {"system"},
    "pydub": {"extraction"},
    "plyfile": {"dataset", "extraction", "export"},
    "cryptography": {"cluster"},
    "dask": {"cluster"},
    "distributed": {"cluster"},
    "psutil": {"cluster"},
    "jinja2": {"visualization"},
    "xxhash": {"system"},
    "imageio_ffmpeg": {"system"},
    "prometheus_client": {"service"},
    "socket": {"cluster", "commands", "download", "system", "ledger"},
    "subprocess": {"system"},
    "multiprocessing": {"extraction"},
}
"""Which rooms may import a library; of the standard library, what does I/O."""


def room_of(path: Path) -> str:
    """Return the room that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def imports_of(path: Path) -> list[str]:
    """Return every module that a file imports, anywhere in it."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: imports inside the package are absolute"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


FILES = sorted(PACKAGE.rglob("*.py"))


def layer_of(room: str) -> int:
    """Return the number of a room's layer, counted from the base."""
    numbers = [number for number, layer in enumerate(LAYERS) if room in layer]
    assert numbers, f"the room {room} is not in the table"
    return numbers[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    room = room_of(path)
    for name in imports_of(path):
        if not name.startswith("rm360_async"):
            continue
        parts = name.split(".")
        other = parts[1] if len(parts) > 1 and parts[1] != "__version__" else "__init__"
        assert other == room or layer_of(other) < layer_of(room), f"{room} may not import {other}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_libraries_stay_in_their_rooms(path: Path) -> None:
    for name in imports_of(path):
        allowed = FENCES.get(name.split(".")[0])
        assert allowed is None or room_of(path) in allowed, f"{room_of(path)} may not import {name}"


@pytest.mark.parametrize("library", FENCES)
def test_a_fence_names_only_rooms_that_use_the_library(library: str) -> None:
    users = {room_of(path) for path in FILES for name in imports_of(path) if name.split(".")[0] == library}
    assert FENCES[library] <= users, f"{library} is fenced for rooms that do not import it"


@pytest.mark.parametrize("path", [path for path in FILES if room_of(path) in ("pipeline", "domain")], ids=str)
def test_the_flow_and_the_rules_do_no_input_or_output(path: Path) -> None:
    """`domain` has rules and values only; `pipeline` waits (anyio) and logs, and knows nothing but `domain`."""
    forbidden = {"os", "io", "shutil", "tempfile", "asyncio", "threading", "sqlite3", "urllib", "ssl"}
    if room_of(path) == "domain":
        forbidden |= {"anyio", "logging"}
    for name in imports_of(path):
        assert name.split(".")[0] not in forbidden, f"{path.name} may not import {name}"
        if name.startswith("rm360_async."):
            assert name.split(".")[1] in ("domain", room_of(path)), f"{path.name} may not import {name}"


DOMAIN = [path for path in FILES if room_of(path) == "domain"]


@pytest.mark.parametrize("path", DOMAIN, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_the_rules_open_no_files_and_only_cameras_need_numpy(path: Path) -> None:
    """`domain/__init__` imports nothing, so a module that needs only a name or an error does not load numpy."""
    names = {name.split(".")[0] for name in imports_of(path)}
    assert "numpy" not in names or "cameras" in path.parts
    assert path != PACKAGE / "domain/__init__.py" or not names
    touched = {"open", "read_text", "read_bytes", "write_text", "write_bytes", "stat", "exists", "is_file", "iterdir"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            assert called not in touched or path.name == "rig.py", f"{path.name} calls {called}"


def top_level_names(path: Path) -> list[tuple[str, bool]]:
    """Return the public classes and type aliases that a file defines, each with whether it is a class."""
    names: list[tuple[str, bool]] = []
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ClassDef):
            names.append((node.name, True))
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            names.append((node.targets[0].id, False))
    return [(name, is_class) for name, is_class in names if name[0].isupper() and not name.isupper()]


def test_a_class_name_means_one_thing_in_the_package() -> None:
    """Type aliases may be repeated (`OnProgress`); a class has its name to itself."""
    defined = [(name, is_class, path.name) for path in FILES for name, is_class in top_level_names(path)]
    for class_name in {name for name, is_class, _ in defined if is_class}:
        files = [file for name, _, file in defined if name == class_name]
        assert len(files) == 1, f"{class_name} is defined in {', '.join(files)}"


def test_the_layers_name_only_rooms_that_exist() -> None:
    assert set().union(*LAYERS) == {room_of(path) for path in FILES}


LINUX_ONLY = {"fcntl", "ctypes", "resource", "multiprocessing"}


def modules_that_load_with(starts: list[Path]) -> set[Path]:
    """Return the files of the package that are imported when these are, wherever in them the import stands."""
    pending, loaded = list(starts), set[Path]()
    while pending:
        path = pending.pop()
        if path in loaded:
            continue
        loaded.add(path)
        for name in imports_of(path):
            parts = name.split(".")[1:] if name.startswith("rm360_async.") else []
            candidates = [PACKAGE.joinpath(*parts[:count]) for count in range(1, len(parts) + 1)]
            pending += [file for each in candidates if (file := each.with_suffix(".py")).is_file()]
            pending += [file for each in candidates if (file := each / "__init__.py").is_file()]
    return loaded


def optional_imports(path: Path) -> set[str]:
    """Return the modules that a file imports in a `try` which goes on without them."""
    tries = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Try)]
    caught = [each for each in tries if any(ast.unparse(h.type or each) == "ImportError" for h in each.handlers)]
    return {alias.name for each in caught for node in each.body if isinstance(node, ast.Import) for alias in node.names}


def test_reading_published_folders_needs_no_linux() -> None:
    readers = [path for path in FILES if room_of(path) in ("dataset", "visualization")]
    readers += [PACKAGE / "store" / "check.py", PACKAGE / "store" / "marker.py"]
    for path in modules_that_load_with(readers):
        assert not LINUX_ONLY & {name.split(".")[0] for name in imports_of(path)} - optional_imports(path), path


def test_no_module_of_the_tests_changes_another_when_it_is_imported() -> None:
    """It would for every test of the process: a wait of the ledger that one module had shortened failed others."""
    changes = [
        f"{path}: {ast.unparse(target)}"
        for path in sorted(Path(__file__).parent.rglob("*.py"))
        for statement in ast.parse(path.read_text()).body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if any(isinstance(node, ast.Attribute | ast.Subscript) for node in ast.walk(target))
    ]
    assert changes == []
