"""`rm360 report`: HTML quality reports."""

from __future__ import annotations

from pathlib import Path

import click

from rm360_async.cli.options import resolve_config, run_async, selection
from rm360_async.domain.errors import BadRequest
from rm360_async.domain.exit_code import ExitCode

PATH = click.Path(path_type=Path)


@click.command("report")
@click.argument("target", metavar="[CONFIG | FOLDER]", required=False, type=PATH)
@click.option("--config", "config_option", type=PATH, help="The same as CONFIG.")
@click.option("--output", type=PATH, required=True, metavar="DIR", help="The folder to write the pages to.")
@click.option("--no-faces", is_flag=True, help="Silhouettes (from the masks) instead of images, and no landmarks.")
@click.option("--force", is_flag=True, help="Also rewrite pages whose folder has not changed.")
@click.option("--watch", is_flag=True, help="Keep the run's page current, every minute, while a run is active.")
@selection
def command(
    target: Path | None,
    config_option: Path | None,
    output: Path,
    *,
    no_faces: bool,
    force: bool,
    watch: bool,
    subjects: tuple[str, ...],
    performances: tuple[str, ...],
) -> int:
    """Write HTML quality reports: one page per performance, one for the run, each with report.json beside it.

    FOLDER is one published performance; with a CONFIG, all published performances of the run are reported. The pages
    need no network and no server; pictures to enlarge and the sound lie in page-files/ beside each. A page is
    rewritten if the marker of its folder has changed. --subject and --performance select the pages to write; the page
    of the run always shows all performances. Exit code 1 if a page could not be written.

    \b
    Examples:
      rm360 report lab.yaml --output report/           then open report/index.html
      rm360 report lab.yaml --output report/ --watch   an opened page loads itself again
      rm360 report subjects/0018/s1_all --output page/
      rm360 report lab.yaml --output report/ --subject 0018 --no-faces
    """
    from rm360_async.commands.report import ReportOptions, report_folder, report_run
    from rm360_async.config import load_settings, parse_filter

    if target is not None and target.is_dir():
        if config_option is not None or subjects or performances or watch:
            others = "--config, --subject, --performance and --watch"
            raise BadRequest(f"{target} is a folder; {others} cannot be used with it")
        return report_folder(target, output, faces=not no_faces)
    settings = load_settings(resolve_config(target, config_option), subjects=subjects, performances=performances)
    options = ReportOptions(not no_faces, force, parse_filter(subjects, performances), watch)
    try:
        return run_async(report_run, settings, output, options)
    except KeyboardInterrupt:
        if not watch:
            raise
        click.echo("stopped", err=True)
        return ExitCode.DONE  # a watch has no end of its own, so it leaves no work
