"""`rm360 retry`: failed performances back to pending."""

from __future__ import annotations

from pathlib import Path

import click

from rm360_async.cli.options import chosen_config, config_path, every_or, run_async, selection


@click.command("retry")
@config_path
@selection
def command(
    config: Path | None, config_option: Path | None, subjects: tuple[str, ...], performances: tuple[str, ...]
) -> int:
    """Put failed performances back to pending; the next run (or the one going on) tries them again.

    \b
    Examples:
      rm360 retry lab.yaml
      rm360 retry lab.yaml --subject 0018
    """
    from rm360_async.commands.ledger import retry
    from rm360_async.config import load_settings

    settings = load_settings(chosen_config(config, config_option), subjects=subjects, performances=performances)
    return run_async(retry, settings, every_or(subjects), every_or(performances))
