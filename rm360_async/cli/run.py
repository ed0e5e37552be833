"""`rm360 run`: the main job."""

from __future__ import annotations

from pathlib import Path

import click

from rm360_async.cli.options import chosen_config, config_path, run_async, selection


@click.command("run")
@config_path
@selection
@click.option("--cameras", metavar="SPEC", help="'all', '0,6,12', or a named set such as 'ring:10'.")
@click.option("--modalities", metavar="A,B", help="E.g. 'images,audio'; see config.yaml for the names.")
@click.option("--force", is_flag=True, help="Extract again what is published already; each folder is replaced at once.")
@click.option("--dry-run", is_flag=True, help="Print the work, its bytes and the disk it needs; touch nothing.")
@click.option("--no-wait", is_flag=True, help="Do not sleep out quota waits: end with exit code 1 and say until when.")
def command(
    config: Path | None,
    config_option: Path | None,
    subjects: tuple[str, ...],
    performances: tuple[str, ...],
    cameras: str | None,
    modalities: str | None,
    *,
    force: bool,
    dry_run: bool,
    no_wait: bool,
) -> int:
    """Download, extract and publish what the config asks for, until nothing is left to do.

    Stop it with Ctrl-C at any time and go on with the same command: nothing is done twice.

    \b
    Examples:
      rm360 run                                    with ./config.yaml
      rm360 run lab.yaml --dry-run
      rm360 run lab.yaml --subject 0018 --performance 's*' --modalities audio
      rm360 run lab.yaml --subject 0018 --performance s3_all --force
    """
    from rm360_async.config import load_settings
    from rm360_async.service.run import run
    from rm360_async.service.startup import RunOptions

    settings = load_settings(
        chosen_config(config, config_option),
        subjects=subjects,
        performances=performances,
        cameras=cameras,
        modalities=modalities,
    )
    return run_async(run, settings, RunOptions(force=force, dry_run=dry_run, wait=not no_wait))
