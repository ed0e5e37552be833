"""`rm360 inspect`: what an .smc file holds."""

from __future__ import annotations

from pathlib import Path

import click

from rm360_async.cli.options import run_async
from rm360_async.domain.errors import BadRequest


@click.command("inspect")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(file: Path, *, as_json: bool) -> int:
    """Show what an .smc file holds: attributes, cameras reported and present, frames, holes, modalities, codecs, fps.

    \b
    Examples:
      rm360 inspect 0018_s3_all_raw.smc
      rm360 inspect 0018_s3_all_raw.smc --json | jq '.cameras'
      rm360 inspect gdrive:0018/0018_s3_all_raw.smc    a few megabytes of it are fetched
    """
    from rm360_async.commands.inspect import as_text, inspect
    from rm360_async.commands.remote_smc import is_remote, look_into

    if is_remote(file):
        found = run_async(look_into, str(file), lambda sparse: inspect(sparse, str(file)))
    elif not file.is_file():
        raise BadRequest(f"{file}: there is no such file")
    else:
        found = inspect(file)
    click.echo(found.to_json() if as_json else as_text(found))
    return 0
