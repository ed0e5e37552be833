"""`rm360 retry`: requeue what failed, or what waits."""

from __future__ import annotations

from pathlib import Path

import click

from rm360_async.cli.options import config_path, resolve_config, run_async, selection


@click.command("retry")
@config_path
@selection
@click.option(
    "--waiting",
    is_flag=True,
    help="End waits (for a quota, for a retry) instead; every account is asked again for these files.",
)
def command(
    config: Path | None,
    config_option: Path | None,
    subjects: tuple[str, ...],
    performances: tuple[str, ...],
    *,
    waiting: bool,
) -> int:
    """Requeue failed performances (state pending): for the next run, and at once for one that is active.

    \b
    Examples:
      rm360 retry lab.yaml
      rm360 retry lab.yaml --subject 0018
      rm360 retry lab.yaml --waiting
    """
    from rm360_async.commands.ledger import retry
    from rm360_async.config import load_settings, parse_filter

    settings = load_settings(resolve_config(config, config_option), subjects=subjects, performances=performances)
    return run_async(retry, settings, parse_filter(subjects, performances), waiting)
