"""Where this package and its libraries are imported from: not from the current folder, nor from PYTHONPATH.

Theory of operation. `python -m` puts the current folder first on `sys.path`, and PYTHONPATH comes next, both before
the standard library: a `random.py` that a user wrote would be imported, and run, by whatever imports `random`. So the
program drops both from its path before it imports anything but built-in modules, and workers get the path that is left.
What is needed and found nowhere else stays, behind everything else: this package itself (run from a checkout), and a
library that a cluster's module system offers by PYTHONPATH.

Imports nothing that is not loaded at the start of every Python.
"""

# pathlib is not loaded yet
# ruff: noqa: PTH100, PTH109, PTH117, PTH118, PTH120

import os
import sys
from _frozen_importlib_external import PathFinder

_LIBRARIES = (
    *("aiofiles", "aiosqlite", "anyio", "click", "cv2", "h5py", "imageio_ffmpeg", "jinja2", "numpy", "plyfile"),
    *("prometheus_client", "pydantic", "rich", "structlog", "uvloop", "xxhash", "yaml"),
)
_PACKAGE_PARENT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def remove_foreign_folders() -> None:
    """Drop the current folder and the folders of PYTHONPATH from `sys.path`; what only they have comes last."""
    sys.path[:] = import_path()


def import_path() -> list[str]:
    """Return `sys.path` without the current folder and PYTHONPATH, but for what is found nowhere else."""
    current = _current_folder()
    foreign = {*current, *python_path()}
    own = [entry for entry in sys.path if os.path.isabs(entry) and (entry not in foreign or _is_installed(entry))]
    extra = [entry for entry in dict.fromkeys([*python_path(), _PACKAGE_PARENT]) if _is_needed(entry, own, current)]
    return own + extra


def python_path() -> list[str]:
    """Return the folders that PYTHONPATH names, absolute, as Python puts them on its path."""
    text = os.environ.get("PYTHONPATH", "")
    if sys.flags.ignore_environment or not text:
        return []
    return [os.path.abspath(entry) for entry in text.split(os.pathsep)]


def _current_folder() -> list[str]:
    try:
        return [os.getcwd()]
    except OSError:  # it was removed
        return []


def _is_installed(entry: str) -> bool:
    """Return True for a folder of the interpreter itself: it may be the current one, or in PYTHONPATH as well."""
    return any(entry.startswith(os.path.join(prefix, "lib")) for prefix in (sys.prefix, sys.base_prefix))


def _is_needed(entry: str, own: list[str], current: list[str]) -> bool:
    """Return True if a foreign folder has this package, or a library, and no folder of `own` has it."""
    if entry in own:
        return False
    if entry == _PACKAGE_PARENT:
        return PathFinder.find_spec(__name__.partition(".")[0], own) is None
    missing = [name for name in _LIBRARIES if PathFinder.find_spec(name, own) is None]
    return entry not in current and any(PathFinder.find_spec(name, [entry]) is not None for name in missing)
