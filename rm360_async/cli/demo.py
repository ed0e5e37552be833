"""`rm360 demo`: try everything without a remote."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("demo")
@click.argument("folder", required=False, type=click.Path(path_type=Path), default=Path("rm360-demo"))
@click.option("--full-resolution", is_flag=True, help="Frames of 2448 x 2048, the resolution of the cameras.")
def command(folder: Path, *, full_resolution: bool) -> int:
    """Make a synthetic remote in FOLDER (default ./rm360-demo), run on it, and show the result.

    It uses both dataset layouts, the real camera rig and rclone, but no network. FOLDER is replaced each time.

    \b
    Examples:
      rm360 demo
      rm360 demo /tmp/rm360 --full-resolution
    """
    from rm360_async.commands.demo import demo

    return demo(folder, full_resolution=full_resolution)
