"""`rm360 clean`: show and remove what is not needed any more."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from rm360_async.cli.options import config_path, resolve_config, run_async
from rm360_async.domain.errors import BadRequest
from rm360_async.domain.exit_code import ExitCode


@click.command("clean")
@config_path
@click.option("--yes", is_flag=True, help="Remove it without asking: for scripts.")
def command(config: Path | None, config_option: Path | None, *, yes: bool) -> int:
    """Show what the config's folders hold that is not needed any more, with sizes; remove it after a question.

    That is: .smc files that could not be extracted, downloads that this config does not need, what interrupted
    extractions left, and logs older than logging.keep_days. What a running instance uses stays, and so does
    everything that rm360 did not write.

    \b
    Examples:
      rm360 clean lab.yaml           shows it and asks
      rm360 clean lab.yaml --yes     e.g. once a week by cron
      rm360 clean lab.yaml < /dev/null; echo $?    only shows it
    """
    from rm360_async.commands.clean.clean import listing_text, remove
    from rm360_async.commands.clean.removable import list_removable
    from rm360_async.config import load_settings

    settings = load_settings(resolve_config(config, config_option))
    found = run_async(list_removable, settings)
    click.echo(listing_text(found))
    if not found.items:
        return ExitCode.DONE
    if not yes and not _is_confirmed(f"Remove these {len(found.items)}? [y/N] "):
        click.echo("nothing was removed")
        return ExitCode.DONE
    return run_async(remove, settings, found)


def _is_confirmed(question: str) -> bool:
    """Return True if the answer on standard input is yes; raise BadRequest if there is none."""
    click.echo(question, nl=False)
    answer = sys.stdin.readline()
    if not answer:
        click.echo()
        raise BadRequest("nothing was removed: there was no answer on standard input; use --yes in scripts")
    return answer.strip().lower() in ("y", "yes")
