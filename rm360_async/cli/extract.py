"""`rm360 extract`: extract one local file or pair to one folder."""

from __future__ import annotations

from pathlib import Path

import click

from rm360_async.cli.options import content_selection
from rm360_async.domain.terms import ALL

PATH = click.Path(path_type=Path)


@click.command("extract")
@click.argument("raw", type=PATH)
@click.option("--anno", type=PATH, help="The annotation file of a pair (21-subject layout).")
@click.option("--output", required=True, type=PATH, help="The folder to write.")
@content_selection
@click.option("--force", is_flag=True, help="Replace the folder if it exists.")
def command(
    raw: Path, anno: Path | None, output: Path, cameras: tuple[str, ...], modalities: tuple[str, ...], *, force: bool
) -> int:
    """Extract one local .smc file (or raw + anno pair) to one folder; no remote, no ledger.

    \b
    Examples:
      rm360 extract 0018_s1_all_raw.smc --output s1_all
      rm360 extract 0026_e0_raw.smc --anno 0026_e0_anno.smc --output e0 --cameras 24,25,26
    """
    from rm360_async.commands.extract_local import extract_local
    from rm360_async.config import parse_cameras, parse_modalities

    selected = parse_modalities(modalities) if modalities else None
    return extract_local(raw, anno, output, parse_cameras(cameras or ALL), selected, force=force)
