"""`rm360 retry`: requeue failed performances."""

from __future__ import annotations

from pathlib import Path

import click

from rm360_async.cli.options import config_path, resolve_config, run_async, selection, without_all


@click.command("retry")
@config_path
@selection
def command(
    config: Path | None, config_option: Path | None, subjects: tuple[str, ...], performances: tuple[str, ...]
) -> int:
    """Requeue failed performances (state pending) for the next run.

    \b
    Examples:
      rm360 retry lab.yaml
      rm360 retry lab.yaml --subject 0018
    """
    from rm360_async.commands.ledger import retry
    from rm360_async.config import load_settings

    settings = load_settings(resolve_config(config, config_option), subjects=subjects, performances=performances)
    return run_async(retry, settings, without_all(subjects), without_all(performances))
