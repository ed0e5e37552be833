"""`rm360 demo`: make a synthetic remote in both layouts, run on it, and show the result."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

import rm360_async
from rm360_async.domain.errors import BadRequest
from rm360_async.domain.exit_code import ExitCode
from rm360_async.domain.names import Structure
from rm360_async.synthetic.remote import demo_plan, make_remote
from rm360_async.system.files import write_atomically
from rm360_async.system.os_errors import os_fault

DEMO_MARKER = ".rm360-demo"
"""File in a folder that the demo made: only in such a folder it removes what it made, and nothing else."""
_RELEASES = ((Structure.SINGLE, "release500"), (Structure.PAIR, "release21"))
_MADE_FOLDERS = ("remote", *(name for _, name in _RELEASES))
_MADE_FILES = ("rclone.conf", *(f"{name}.yaml" for _, name in _RELEASES))
_FULL_SCALE, _SMALL_SCALE = 1.0, 0.125
_MAX_NAMES_SHOWN = 6
_MAX_REASON_CHARS = 300


def demo(folder: Path, *, full_resolution: bool) -> int:
    """Make the remotes, run on each, print the published trees and the manifests; return the worst exit code."""
    folder = folder.absolute()
    with _write_errors_as_faults(folder):
        _remove_earlier_demo(folder)
    os.environ["RCLONE_CONFIG"] = str(folder / "rclone.conf")
    codes = []
    for structure, name in _RELEASES:
        print(f"\n== {name}: making a synthetic remote ({structure.value}) ==", file=sys.stderr)
        with _write_errors_as_faults(folder):
            scale = _FULL_SCALE if full_resolution else _SMALL_SCALE
            make_remote(folder / "remote" / name, structure, demo_plan(structure), scale=scale)
            config = _write_configs(folder, structure, name)
        print(f"== {name}: rm360 run {config} ==", file=sys.stderr)
        code = ExitCode(_run(config))
        if code.is_stop:
            return code
        codes.append(code)
    for _, name in _RELEASES:
        _print_tree(folder / name)
    print("\n".join(_what_next(folder)))
    return max(codes)


def _what_next(folder: Path) -> Iterator[str]:
    """Yield where everything is, and the commands that lead on."""
    published = " and ".join(str(folder / name / "subjects") for _, name in _RELEASES)
    yield f"\nEverything is in {folder}; the published folders are in {published}"
    page = Path(rm360_async.__file__).parent / "export" / "README.md"
    yield f"From here to training, for example (all of it: {page}):"
    if shutil.which("rm360") is None:
        yield f"  . {shlex.quote(str(Path(sys.prefix) / 'bin' / 'activate'))}"
    yield f"  cd {shlex.quote(str(folder / 'release21'))}"
    yield "  rm360 export nerfstudio subjects/0026/e0 --output exports/nerfstudio --split hold:8"


@contextmanager
def _write_errors_as_faults(folder: Path) -> Iterator[None]:
    """Raise errors of the disk, or of HDF5 writing to it, as one Fault."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        cause = error if isinstance(error, OSError) else OSError(" ".join(str(error).split())[:_MAX_REASON_CHARS])
        raise os_fault(cause, "write", folder) from error


def _remove_earlier_demo(folder: Path) -> None:
    if folder.exists():
        if not folder.is_dir():
            raise BadRequest(f"{folder} is a file; choose a folder")
        if not (folder / DEMO_MARKER).is_file() and any(folder.iterdir()):
            raise BadRequest(f"{folder} was not made by the demo and is not empty; choose another folder")
        for name in _MADE_FOLDERS:
            if (folder / name).is_dir():
                shutil.rmtree(folder / name)
        for name in _MADE_FILES:
            (folder / name).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / DEMO_MARKER).touch()


def _write_configs(folder: Path, structure: Structure, name: str) -> Path:
    """Add the remote to rclone.conf and write the config of rm360; return the path of that."""
    rclone_config = folder / "rclone.conf"
    rclone_config.touch(mode=0o600)  # the mode that rclone uses, because such a file can contain tokens
    with rclone_config.open("a") as lines:
        lines.write(f"[{name}]\ntype = alias\nremote = {folder / 'remote' / name}\n\n")
    config = {
        "google_drive": {"remote_name": name, "structure": structure.value},
        "extraction": {"subjects": "all", "performances": "all"},
        "storage": {"output_dir": str(folder / name / "subjects")},
        "limits": {"max_temp_size_gb": 4, "min_free_space_gb": 1},
    }
    path = folder / f"{name}.yaml"
    write_atomically(path, yaml.safe_dump(config, sort_keys=False).encode())
    return path


def _run(config: Path) -> int:
    import anyio

    from rm360_async.config import load_settings
    from rm360_async.service.run import run
    from rm360_async.service.startup import RunOptions

    return anyio.run(run, load_settings(config), RunOptions())


def _print_tree(folder: Path) -> None:
    """Print the published folders, long listings shortened, and the manifest."""
    print(f"\n{folder / 'subjects'}")
    for performance in sorted((folder / "subjects").glob("*/*/")):
        print(f"  {performance.parent.name}/{performance.name}/")
        for line in _tree_lines(performance):
            print(f"    {line}")
    print(f"\n{folder / 'MANIFEST.csv'}")
    print((folder / "MANIFEST.csv").read_text().strip())


def _tree_lines(performance: Path) -> list[str]:
    """Return a line for each file or folder in a published folder."""
    lines = []
    for entry in sorted(performance.iterdir()):
        if entry.is_file():
            lines.append(entry.name)
            continue
        cameras = sorted(each for each in entry.iterdir() if each.is_dir())
        if cameras:
            counts = Counter(len(list(camera.iterdir())) for camera in cameras)
            summary = ", ".join(f"{number} x {count} files" for count, number in counts.items())
            lines.append(f"{entry.name}/  {cameras[0].name} .. {cameras[-1].name}: {summary}")
        else:
            names = sorted(each.name for each in entry.iterdir())
            more = f" ... ({len(names)} files)" if len(names) > _MAX_NAMES_SHOWN else ""
            lines.append(f"{entry.name}/  {' '.join(names[:_MAX_NAMES_SHOWN])}{more}")
    return lines
