"""`rm360 service`: print the systemd unit that runs a config for weeks."""

from __future__ import annotations

import getpass
from pathlib import Path

import click

from rm360_async.cli.options import config_path, resolve_config
from rm360_async.domain.exit_code import ExitCode


@click.command("service")
@config_path
@click.option("--name", "only_name", is_flag=True, help="Print only the name of the config's service.")
@click.option(
    "--user", metavar="ACCOUNT", help="The account that it runs as, with its own rclone config; default: you."
)
def command(config: Path | None, config_option: Path | None, *, only_name: bool, user: str | None) -> int:
    """Print a systemd unit for a config: with its paths, and the variables of this shell that a run needs.

    Each config has a service of its own. The folders that it writes to are made. Notes on what is left to do go to
    standard error.

    \b
    Examples:
      name=$(rm360 service lab.yaml --name)
      rm360 service lab.yaml | sudo tee /etc/systemd/system/$name.service
      sudo systemctl daemon-reload && sudo systemctl enable --now $name
      systemctl status $name
    """
    from rm360_async.commands.service_unit import print_unit, service_name

    path = resolve_config(config, config_option).resolve()
    if only_name:
        click.echo(service_name(path))
    else:
        print_unit(path, user or getpass.getuser())
    return ExitCode.DONE
