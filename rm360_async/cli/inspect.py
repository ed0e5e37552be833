"""`rm360 inspect`: show the contents of an .smc file."""

from __future__ import annotations

from pathlib import Path

import click

from rm360_async.cli.options import run_async
from rm360_async.domain.errors import BadRequest
from rm360_async.domain.exit_code import ExitCode


@click.command("inspect")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(file: Path, *, as_json: bool) -> int:
    """Show the contents of an .smc file: attributes, cameras, frames, missing frames, modalities, codecs, fps.

    \b
    Examples:
      rm360 inspect 0018_s3_all_raw.smc
      rm360 inspect 0018_s3_all_raw.smc --json | jq '.cameras'
      rm360 inspect gdrive:0018/0018_s3_all_raw.smc    downloads only a few megabytes
    """
    from rm360_async.commands.inspect import inspect
    from rm360_async.commands.inspect_text import as_text
    from rm360_async.commands.remote_smc import is_remote, read_remote_smc

    if is_remote(file):
        inventory = run_async(read_remote_smc, str(file), lambda sparse: inspect(sparse, str(file)))
    elif not file.is_file():
        raise BadRequest(f"{file}: no such file")
    else:
        inventory = inspect(file)
    click.echo(inventory.to_json() if as_json else as_text(inventory))
    return ExitCode.DONE
