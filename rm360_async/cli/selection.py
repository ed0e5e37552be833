"""`rm360 selection`: explain how subjects, performances, cameras and modalities are selected."""

from __future__ import annotations

from importlib import resources

import click

from rm360_async.cli.options import selection_option
from rm360_async.domain.exit_code import ExitCode


@click.command("selection")
@selection_option("--cameras", "cameras", "Print what this selection of cameras chooses.")
def command(cameras: tuple[str, ...]) -> int:
    """Explain how subjects, performances, cameras and modalities are selected, in options and in the config.

    \b
    Examples:
      rm360 selection
      rm360 selection --cameras 'ring:10 +25 -49'
    """
    if not cameras:
        click.echo((resources.files("rm360_async.domain") / "selectors.md").read_text(encoding="utf-8").rstrip())
        return ExitCode.DONE
    from rm360_async.config import parse_cameras
    from rm360_async.domain.cameras.rig import S3_CAMERAS, rig
    from rm360_async.domain.cameras.sets import resolve_cameras

    selector = parse_cameras(cameras)
    for pool, name in ((tuple(rig()), "60 cameras of the rig"), (S3_CAMERAS, "38 cameras of s3_all")):
        chosen = resolve_cameras(selector, pool)
        click.echo(f"{len(chosen)} of the {name}: {' '.join(chosen)}")
    return ExitCode.DONE
