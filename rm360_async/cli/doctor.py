"""`rm360 doctor`: look at all that a run needs; make a lost ledger again."""

from __future__ import annotations

from pathlib import Path

import click

from rm360_async.cli.options import chosen_config, config_path, run_async
from rm360_async.domain.errors import BadRequest


@click.command("doctor")
@config_path
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--rebuild", "wanted", is_flag=True, help="Make the ledger again from the published folders.")
def command(config: Path | None, config_option: Path | None, *, as_json: bool, wanted: bool) -> int:
    """Look at everything that weeks of running need: config, rclone, remote, disks, limits, ledger.

    Each line is ok, warn or fail, with the mend. Exit code 0 without a fail, 1 with one, 2 for a bad config.
    Nothing is changed, except by --rebuild, which keeps the old ledger beside the new one.

    \b
    Examples:
      rm360 doctor lab.yaml
      rm360 doctor lab.yaml --json | jq '.lines[] | select(.state != "ok")'
      rm360 doctor lab.yaml --rebuild
    """
    from rm360_async.commands.doctor import examine, rebuild
    from rm360_async.config import load_settings

    path = chosen_config(config, config_option)
    if not wanted:
        return run_async(examine, path, as_json)
    if as_json:
        raise BadRequest("--json and --rebuild do not go together; rebuild first")
    return run_async(rebuild, load_settings(path))
