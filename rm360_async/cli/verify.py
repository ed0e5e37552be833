"""`rm360 verify`: compare published folders, or exports, with their records."""

from __future__ import annotations

from pathlib import Path

import click

from rm360_async.cli.options import config_path, resolve_config, run_async, selection
from rm360_async.domain.errors import BadRequest


@click.command("verify")
@config_path
@selection
@click.option(
    "--deep", is_flag=True, help="Read every file and compare its hash; without this option, only names and sizes."
)
@click.option("--repair", is_flag=True, help="Queue damaged performances, and nothing else, for the next run.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(
    config: Path | None,
    config_option: Path | None,
    subjects: tuple[str, ...],
    performances: tuple[str, ...],
    *,
    deep: bool,
    repair: bool,
    as_json: bool,
) -> int:
    """Compare every published folder with its record, and list files that are missing, changed or extra.

    Exit code 1 if there are any. The remote is not used, and without --repair nothing is changed. With the folder of
    `rm360 export --output` in the place of CONFIG, its exports are compared with their records and with the published
    folders that they were made from.

    \b
    Examples:
      rm360 verify lab.yaml
      rm360 verify lab.yaml --deep --subject 0018
      rm360 verify lab.yaml --deep --repair && echo "all folders are intact"
      rm360 verify exports/nerfstudio
      rm360 verify lab.yaml --json | jq '.performances | map_values(.state)'
    """
    from rm360_async.commands.export.verify import verify_exports
    from rm360_async.commands.verify.verify import VerifyOptions, verify
    from rm360_async.config import load_settings, parse_filter

    if config is not None and config.is_dir():
        if repair or config_option is not None:
            raise BadRequest(
                f"{config} is a folder: --repair and --config cannot be used; `rm360 export` again rebuilds exports"
            )
        return run_async(verify_exports, config, parse_filter(subjects, performances), deep, as_json)
    settings = load_settings(resolve_config(config, config_option), subjects=subjects, performances=performances)
    options = VerifyOptions(deep, repair, parse_filter(subjects, performances), as_json)
    return run_async(verify, settings, options)
