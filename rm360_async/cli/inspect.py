"""`rm360 inspect`: show the contents of an .smc file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from rm360_async.cli.options import resolve_config, run_async
from rm360_async.domain.errors import BadRequest
from rm360_async.domain.exit_code import ExitCode
from rm360_async.domain.names import Performance, is_performance, is_subject

if TYPE_CHECKING:
    from rm360_async.commands.inspect import SmcInventory

PATH = click.Path(path_type=Path)


@click.command("inspect")
@click.argument("target", metavar="FILE | [CONFIG] SUBJECT/PERFORMANCE", type=PATH)
@click.argument("performance", metavar="", required=False)
@click.option("--config", "config_option", type=PATH, help="The config whose remote has SUBJECT/PERFORMANCE.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object (a list of two for a raw and anno pair).")
def command(target: Path, performance: str | None, config_option: Path | None, *, as_json: bool) -> int:
    """Show the contents of an .smc file: attributes, cameras, frames, missing frames, modalities, codecs, fps.

    FILE is on this machine or on a remote. With SUBJECT/PERFORMANCE the files are those on the remote of CONFIG
    (default ./config.yaml). Of a remote file only a few megabytes are downloaded. Exit code 1 if a file has nothing
    that a file of RenderMe-360 has.

    \b
    Examples:
      rm360 inspect 0018_s3_all_raw.smc
      rm360 inspect 0018_s3_all_raw.smc --json | jq '.cameras'
      rm360 inspect lab.yaml 0018/s3_all
      rm360 inspect gdrive:0018/0018_s3_all_raw.smc    a path from the root of the remote
    """
    from rm360_async.commands.inspect_text import as_text

    inventories = _inspect(target, performance, config_option)
    if as_json:
        click.echo(inventories[0].to_json() if len(inventories) == 1 else json_list(inventories))
    else:
        click.echo("\n\n".join(map(as_text, inventories)))
    return ExitCode.SOME_FAILED if any(each.is_foreign for each in inventories) else ExitCode.DONE


def json_list(inventories: list[SmcInventory]) -> str:
    """Return inventories as one JSON list."""
    return "[" + ",\n".join(each.to_json() for each in inventories) + "]"


def _inspect(target: Path, performance: str | None, config_option: Path | None) -> list[SmcInventory]:
    from rm360_async.commands.inspect import inspect
    from rm360_async.commands.remote_smc import is_remote, read_performance, read_remote_smc
    from rm360_async.config import load_settings

    if performance is None and target.is_file():
        return [inspect(target)]
    if performance is None and is_remote(target):
        return [run_async(read_remote_smc, str(target), inspect)]
    wanted = _parse_performance(performance or str(target))
    if wanted is None:
        raise BadRequest(f"{performance or target}: no such file, and no performance such as 0018/s3_all")
    config = resolve_config(target if performance else None, config_option)
    settings = load_settings(config, subjects=(wanted.subject,), performances=(wanted.name,))
    return run_async(read_performance, settings, wanted, inspect)


def _parse_performance(text: str) -> Performance | None:
    subject, _, name = text.partition("/")
    return Performance(subject, name) if is_subject(subject) and is_performance(name) else None
