"""`rm360 export`: published performances as training programs read them."""

from __future__ import annotations

from pathlib import Path

import click

from rm360_async.cli.options import run_async, selection, selection_option
from rm360_async.domain.errors import BadRequest
from rm360_async.domain.exit_code import ExitCode

PATH = click.Path(path_type=Path)


@click.command("export")
@click.argument("format_name", metavar="FORMAT", required=False)
@click.argument("targets", metavar="[CONFIG | FOLDER ...]", nargs=-1, type=PATH)
@click.option("--config", type=PATH, help="The same as CONFIG.")
@click.option("--output", type=PATH, metavar="OUT", help="The folder to export to.")
@click.option("--list", "list_all", is_flag=True, help="List the formats: what each is and needs.")
@selection
@selection_option("--cameras", "cameras", "Cameras, e.g. 20-25 or 'ring:10 +25 -49'; `rm360 selection` explains.")
@click.option("--frames", metavar="SPEC", help="A frame (0), a range (0:100 or 0:100:10), or all.")
@click.option(
    "--images",
    type=click.Choice(["hard", "soft", "reference", "copy"]),
    default="hard",
    show_default=True,
    help="How pictures get there where the format can use the published ones.",
)
@click.option("--size", metavar="PIXELS", help="Width and height of pictures that are made; or full.")
@click.option("--radius", type=float, metavar="METRES", help="What of the head is in such a picture, from its middle.")
@click.option("--background", type=click.Choice(["none", "white", "black"]), help="What is behind the head.")
@click.option("--fps", type=float, help="Frames a second of videos.")
@click.option("--split", metavar="SPEC", default="none", show_default=True, help="none, bench, or hold:N.")
@click.option("--text", is_flag=True, help="Text files beside binary ones (colmap).")
@click.option("--jobs", type=click.IntRange(1, 512), help="Processes at once; by default one for each processor.")
@click.option("--force", is_flag=True, help="Export again what is complete, and replace what is in the way.")
@click.option("--dry-run", is_flag=True, help="Only print what would be written: files, bytes, inodes, time.")
def command(
    format_name: str | None,
    targets: tuple[Path, ...],
    config: Path | None,
    output: Path | None,
    *,
    list_all: bool,
    subjects: tuple[str, ...],
    performances: tuple[str, ...],
    cameras: tuple[str, ...],
    frames: str | None,
    images: str,
    size: str | None,
    radius: float | None,
    background: str | None,
    fps: float | None,
    split: str,
    text: bool,
    jobs: int | None,
    force: bool,
    dry_run: bool,
) -> int:
    """Export published performances to OUT in the FORMAT that another program reads.

    FOLDER is a performance, a subject or an output folder; with a CONFIG, what it has published is exported. Each
    export is checked before it gets its name, and has its figures in .rm360_export.json. What is complete is not
    exported again; what has changed at its source is. Published folders are never written to. Exit code 1 if
    something failed, or nothing could be exported.

    \b
    Examples:
      rm360 export --list
      rm360 export nerfstudio subjects/0026/e0 --output exports/nerfstudio
      rm360 export colmap lab.yaml --output exports/colmap --performance 'e*' --split hold:8
      rm360 export nerfstudio subjects --output exports --frames 0:100:10 --cameras ring:20 --dry-run
    """
    from rm360_async.commands.export.export import export, list_formats
    from rm360_async.commands.export.selection import select_performances
    from rm360_async.config import parse_cameras
    from rm360_async.export.options import ExportOptions

    if list_all:
        click.echo(list_formats())
        return ExitCode.DONE
    if format_name is None or output is None:
        raise BadRequest("give a FORMAT and --output OUT; `rm360 export --list` lists the formats")
    options = ExportOptions(
        parse_cameras(cameras) if cameras else None,
        frames,
        images,
        _parse_size(size),
        radius,
        background,
        fps,
        split,
        text,
    )
    selected = select_performances(targets, config, subjects, performances)
    return run_async(export, format_name, selected, output, options, jobs, force, dry_run)


def _parse_size(text: str | None) -> int | str | None:
    if text is None or text == "full":
        return text
    if not (text.isascii() and text.isdigit()):
        raise BadRequest(f"--size {text}: give a number of pixels, or full")
    return int(text)
