"""`rm360 status`: what is done, running, waiting and failed."""

from __future__ import annotations

from pathlib import Path

import click

from rm360_async.cli.options import chosen_config, config_path, run_async


@click.command("status")
@config_path
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
@click.option("--watch", is_flag=True, help="Show it again every two seconds, until Ctrl-C.")
def command(config: Path | None, config_option: Path | None, *, as_json: bool, watch: bool) -> int:
    """Show what is done, running, waiting (and until when) and failed (and why).

    It reads the ledger, so it works while a run goes on and when none does.

    \b
    Examples:
      rm360 status lab.yaml
      rm360 status lab.yaml --watch
      rm360 status lab.yaml --json | jq '.failed'
    """
    from rm360_async.commands.status import show
    from rm360_async.config import load_settings

    settings = load_settings(chosen_config(config, config_option))
    return run_async(show, settings, as_json, watch)
