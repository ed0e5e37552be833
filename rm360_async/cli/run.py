"""`rm360 run`: download, extract and publish."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from rm360_async.cli.options import config_path, content_selection, resolve_config, run_async, selection
from rm360_async.system.linux import require_linux


@click.command("run")
@config_path
@selection
@content_selection
@click.option(
    "--force", is_flag=True, help="Extract published performances again; each folder is replaced in one step."
)
@click.option(
    "--dry-run", is_flag=True, help="Print what would be downloaded and the disk space it needs; change nothing."
)
@click.option("--at", "rate", metavar="RATE", help="Rate of the line for --dry-run's duration, e.g. 100MB/s, 1Gbit/s.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print JSON: of a dry run one object, of a run a line for each event."
)
@click.option("-v", "--verbose", is_flag=True, help="Log every command, stage and decision too (level DEBUG).")
@click.option("-q", "--quiet", is_flag=True, help="Show only warnings and errors; the log file has everything.")
@click.option(
    "--no-wait", is_flag=True, help="Do not wait for quotas: end with exit code 1 and print until when they last."
)
def command(
    config: Path | None,
    config_option: Path | None,
    subjects: tuple[str, ...],
    performances: tuple[str, ...],
    cameras: tuple[str, ...],
    modalities: tuple[str, ...],
    *,
    force: bool,
    dry_run: bool,
    no_wait: bool,
    as_json: bool,
    verbose: bool,
    quiet: bool,
    rate: str | None,
) -> int:
    """Download, extract and publish the performances that the config selects, until nothing is left to do.

    Ctrl-C stops it at any time; rerun the same command to resume. Finished work is not repeated.

    \b
    Examples:
      rm360 run                                    with ./config.yaml
      rm360 run lab.yaml --dry-run --at 100MB/s
      rm360 run lab.yaml --subject 0018-0040 --performance 's*' --modalities audio
      rm360 run lab.yaml --cameras 'ring:10 +25 -49'
      rm360 run lab.yaml --subject 0018 --performance s3_all --force
    """
    require_linux("rm360 run")
    line_rate = _parsed(rate)
    from rm360_async.config import load_settings
    from rm360_async.service.run import run
    from rm360_async.service.startup import RunOptions

    path = resolve_config(config, config_option)
    settings = load_settings(
        path,
        subjects=subjects,
        performances=performances,
        cameras=cameras,
        modalities=modalities,
    )
    options = RunOptions(force=force, dry_run=dry_run, wait=not no_wait, rate=line_rate, config=str(path))
    return run_async(run, settings, replace(options, verbose=verbose, quiet=quiet, as_json=as_json))


def _parsed(rate: str | None) -> float | None:
    """Return the bytes a second that a text names; None for None."""
    from rm360_async.domain.forecast import parse_rate

    try:
        return None if rate is None else parse_rate(rate)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--at") from error
