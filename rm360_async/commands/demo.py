"""`rm360 demo`: a synthetic remote in both layouts, the real run on it, and what came out."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from rm360_async.domain.errors import BadRequest
from rm360_async.domain.names import Structure
from rm360_async.synthetic.remote import demo_plan, make_remote
from rm360_async.system.os_errors import os_fault

OWNED = ".rm360-demo"
"""Marks a folder as made by the demo: only such a folder is removed."""
_FULL, _SMALL = 1.0, 0.125
_NAMED = 6
_LONGEST = 300


def demo(folder: Path, *, full_resolution: bool) -> int:
    """Make the remote, run on it, print the trees and the manifests; return the worst exit code."""
    folder = folder.absolute()
    with _written(folder):
        _make_anew(folder)
    os.environ["RCLONE_CONFIG"] = str(folder / "rclone.conf")
    codes = []
    for structure, name in ((Structure.SINGLE, "release500"), (Structure.PAIR, "release21")):
        remote, work = folder / "remote" / name, folder / name
        print(f"\n== {name}: making a synthetic remote ({structure.value}) ==", file=sys.stderr)
        with _written(folder):
            make_remote(remote, structure, demo_plan(structure), scale=_FULL if full_resolution else _SMALL)
            config = _write_configs(folder, structure, remote, work, name)
        print(f"== {name}: rm360 run {config} ==", file=sys.stderr)
        codes.append(_run(config))
    for name in ("release500", "release21"):
        _show(folder / name)
    print(f"\nEverything is in {folder}: look at {folder / 'release500' / 'subjects'}")
    return max(codes)


@contextmanager
def _written(folder: Path) -> Iterator[None]:
    """Turn what the disk, or HDF5 on it, refuses into one sentence."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        cause = error if isinstance(error, OSError) else OSError(" ".join(str(error).split())[:_LONGEST])
        raise os_fault(cause, "write", folder) from error


def _make_anew(folder: Path) -> None:
    if folder.exists():
        if not folder.is_dir():
            raise BadRequest(f"{folder} is a file; name a folder")
        if not (folder / OWNED).is_file() and any(folder.iterdir()):
            raise BadRequest(f"{folder} is not a folder that the demo made; name another one")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / OWNED).touch()


def _write_configs(folder: Path, structure: Structure, remote: Path, work: Path, name: str) -> Path:
    conf = folder / "rclone.conf"
    conf.touch(mode=0o600)  # as rclone makes its own: such a file can hold tokens
    with conf.open("a") as lines:
        lines.write(f"[{name}]\ntype = alias\nremote = {remote}\n\n")
    config = {
        "google_drive": {"remote_name": name, "structure": structure.value},
        "extraction": {"subjects": "all", "performances": "all"},
        "storage": {"output_dir": str(work / "subjects")},
        "limits": {"max_temp_size_gb": 4, "min_free_space_gb": 1},
    }
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def _run(config: Path) -> int:
    import anyio

    from rm360_async.config import load_settings
    from rm360_async.service.run import run
    from rm360_async.service.startup import RunOptions

    return anyio.run(run, load_settings(config), RunOptions())


def _show(work: Path) -> None:
    """Print the published tree, long folders shortened, and the manifest."""
    print(f"\n{work / 'subjects'}")
    for performance in sorted((work / "subjects").glob("*/*/")):
        print(f"  {performance.parent.name}/{performance.name}/")
        for line in _branches(performance):
            print(f"    {line}")
    print(f"\n{work / 'MANIFEST.csv'}")
    print((work / "MANIFEST.csv").read_text().strip())


def _branches(performance: Path) -> list[str]:
    lines = []
    for part in sorted(performance.iterdir()):
        if part.is_file():
            lines.append(part.name)
            continue
        cameras = sorted(each for each in part.iterdir() if each.is_dir())
        if cameras:
            counts = Counter(len(list(camera.iterdir())) for camera in cameras)
            each = ", ".join(f"{number} x {count} files" for count, number in counts.items())
            lines.append(f"{part.name}/  {cameras[0].name} .. {cameras[-1].name}: {each}")
        else:
            names = sorted(each.name for each in part.iterdir())
            more = f" ... ({len(names)} files)" if len(names) > _NAMED else ""
            lines.append(f"{part.name}/  {' '.join(names[:_NAMED])}{more}")
    return lines
