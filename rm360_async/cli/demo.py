"""`rm360 demo`: see it work without any remote."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("demo")
@click.argument("folder", required=False, type=click.Path(path_type=Path), default=Path("rm360-demo"))
@click.option("--full-resolution", is_flag=True, help="Frames of 2448 x 2048, as the cameras take them.")
def command(folder: Path, *, full_resolution: bool) -> int:
    """Make a synthetic remote in FOLDER (default ./rm360-demo), run the real thing on it, and show the result.

    Both release layouts, the real camera rig, real rclone, no network. FOLDER is made anew each time.

    \b
    Examples:
      rm360 demo
      rm360 demo /tmp/rm360 --full-resolution
    """
    from rm360_async.commands.demo import demo

    return demo(folder, full_resolution=full_resolution)
