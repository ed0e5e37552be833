"""`rm360 report`: pages that show whether everything is right."""

from __future__ import annotations

from pathlib import Path

import click

from rm360_async.cli.options import chosen_config, every_or, run_async, selection
from rm360_async.domain.errors import BadRequest

PATH = click.Path(path_type=Path)


@click.command("report")
@click.argument("target", metavar="[CONFIG | FOLDER]", required=False, type=PATH)
@click.option("--config", "config_option", type=PATH, help="The same as CONFIG.")
@click.option("--output", type=PATH, required=True, metavar="DIR", help="The folder for the pages.")
@click.option("--no-faces", is_flag=True, help="Silhouettes (from the masks) instead of pictures, no landmarks.")
@click.option("--force", is_flag=True, help="Make pages again whose folder has not changed.")
@selection
def command(
    target: Path | None,
    config_option: Path | None,
    output: Path,
    *,
    no_faces: bool,
    force: bool,
    subjects: tuple[str, ...],
    performances: tuple[str, ...],
) -> int:
    """Make static pages: one for each published performance, and one for the run, with report.json beside each.

    FOLDER is one published performance; with a CONFIG all of the run are reported. The pages need no network and no
    server. A page is made again when its folder's marker changed. --subject and --performance choose the pages to
    make; the run's page always shows all. Exit code 1 when a page could not be made.

    \b
    Examples:
      rm360 report lab.yaml --output report/           then open report/index.html
      rm360 report subjects/0018/s1_all --output page/
      rm360 report lab.yaml --output report/ --subject 0018 --no-faces
    """
    from rm360_async.commands.report import ReportOptions, report_folder, report_run
    from rm360_async.config import load_settings

    if target is not None and target.is_dir():
        if config_option is not None or subjects or performances:
            raise BadRequest(f"{target} is a folder; --config, --subject and --performance go with a config")
        return report_folder(target, output, faces=not no_faces)
    settings = load_settings(chosen_config(target, config_option), subjects=subjects, performances=performances)
    options = ReportOptions(not no_faces, force, every_or(subjects), every_or(performances))
    return run_async(report_run, settings, output, options)
