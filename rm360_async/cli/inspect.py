"""`rm360 inspect`: what an .smc file holds."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("inspect")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(file: Path, *, as_json: bool) -> int:
    """Show what an .smc file holds: attributes, cameras reported and present, frames, holes, modalities, codecs, fps.

    \b
    Examples:
      rm360 inspect 0018_s3_all_raw.smc
      rm360 inspect 0018_s3_all_raw.smc --json | jq '.cameras'
    """
    from rm360_async.survey import as_text, survey

    found = survey(file)
    click.echo(found.to_json() if as_json else as_text(found))
    return 0
