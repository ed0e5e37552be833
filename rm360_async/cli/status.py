"""`rm360 status`: show what is done, running, waiting and failed."""

from __future__ import annotations

from pathlib import Path

import click

from rm360_async.cli.options import config_path, resolve_config, run_async
from rm360_async.domain.exit_code import ExitCode


@click.command("status")
@config_path
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
@click.option("--watch", is_flag=True, help="Refresh every two seconds until Ctrl-C.")
def command(config: Path | None, config_option: Path | None, *, as_json: bool, watch: bool) -> int:
    """Show what is done, running, waiting (and until when) and failed (and why).

    It reads the ledger, so it works with and without an active run.

    \b
    Examples:
      rm360 status lab.yaml
      rm360 status lab.yaml --watch
      rm360 status lab.yaml --json | jq '.failed'
    """
    from rm360_async.commands.status import print_status
    from rm360_async.config import load_settings

    settings = load_settings(resolve_config(config, config_option))
    try:
        return run_async(print_status, settings, as_json, watch)
    except KeyboardInterrupt:
        if not watch:
            raise
        click.echo("stopped", err=True)
        return ExitCode.DONE  # a watch has no end of its own, so it leaves no work
