"""`rm360 ls`: list what the remote has."""

from __future__ import annotations

from pathlib import Path

import click

from rm360_async.cli.options import resolve_config, run_async
from rm360_async.domain.errors import BadRequest
from rm360_async.domain.terms import single_names

PATH = click.Path(path_type=Path)


@click.command("ls")
@click.argument("arguments", metavar="[CONFIG] [SUBJECT[/PERFORMANCE]]", nargs=-1, type=PATH)
@click.option("--config", "config_option", type=PATH, help="The same as CONFIG.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: performances with their files.")
def command(arguments: tuple[Path, ...], config_option: Path | None, *, as_json: bool) -> int:
    """List what the remote has: subjects, the performances of SUBJECT, or the files of SUBJECT/PERFORMANCE.

    With sizes, and what is published. Both may be selections ('0018-0040', '0018/s*'). If nothing is where the config
    looks, it says what is there instead, and the exit code is 1.

    \b
    Examples:
      rm360 ls lab.yaml
      rm360 ls lab.yaml 0018
      rm360 ls lab.yaml '0018-0040/s3_all'
      rm360 ls lab.yaml --json | jq '.performances | keys'
    """
    from rm360_async.commands.listing import print_listing
    from rm360_async.config import load_settings, parse_filter

    config, target = _split(arguments)
    subjects, _, performances = target.partition("/")
    wanted = parse_filter([subjects] if subjects else [], [performances] if performances else [])
    settings = load_settings(resolve_config(config, config_option), subjects=[subjects or "all"])
    names = single_names(wanted.performances) if performances else None
    level = "files" if names else "performances" if subjects else "subjects"
    return run_async(print_listing, settings, wanted, level, as_json)


def _split(arguments: tuple[Path, ...]) -> tuple[Path | None, str]:
    """Return the config and the target; a single argument is a config if it is a file or ends like one."""
    if len(arguments) > 2:
        raise BadRequest(f"too many arguments: {' '.join(map(str, arguments))}; put quotes around a selection")
    if len(arguments) == 2:
        return arguments[0], str(arguments[1])
    if not arguments:
        return None, ""
    is_config = arguments[0].is_file() or arguments[0].suffix in (".yaml", ".yml")
    return (arguments[0], "") if is_config else (None, str(arguments[0]))
