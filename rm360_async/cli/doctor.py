"""`rm360 doctor`: check everything a run depends on; rebuild a lost ledger."""

from __future__ import annotations

from pathlib import Path

import click

from rm360_async.cli.options import config_path, resolve_config, run_async
from rm360_async.domain.errors import BadRequest


@click.command("doctor")
@config_path
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--rebuild", "rebuild_ledger", is_flag=True, help="Rebuild the ledger from the published folders.")
def command(config: Path | None, config_option: Path | None, *, as_json: bool, rebuild_ledger: bool) -> int:
    """Check everything a long run depends on: config, rclone, remote, disks, limits, ledger.

    Each line is ok, warn or fail, with a hint what to do. Exit code 1 if a check fails, 2 for a bad config.
    Nothing is changed, except with --rebuild, which keeps the old ledger beside the new one.

    \b
    Examples:
      rm360 doctor lab.yaml
      rm360 doctor lab.yaml --json | jq '.lines[] | select(.state != "ok")'
      rm360 doctor lab.yaml --rebuild
    """
    from rm360_async.commands.doctor import rebuild, run_checks
    from rm360_async.config import load_settings

    path = resolve_config(config, config_option)
    if not rebuild_ledger:
        return run_async(run_checks, path, as_json)
    if as_json:
        raise BadRequest("--json and --rebuild cannot be used together; rebuild first")
    return run_async(rebuild, load_settings(path))
