"""`rm360 summary`: show the manifest as tables or as a plot."""

from __future__ import annotations

from pathlib import Path

import click

from rm360_async.cli.options import resolve_config, run_async
from rm360_async.domain.errors import BadRequest

PATH = click.Path(path_type=Path)


@click.command("summary")
@click.argument("target", metavar="[CONFIG | MANIFEST.csv]", required=False, type=PATH)
@click.option("--config", "config_option", type=PATH, help="The same as CONFIG.")
@click.option("--output", type=PATH, metavar="PATH", help="Also write a plot to this PNG or SVG file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
def command(target: Path | None, config_option: Path | None, *, output: Path | None, as_json: bool) -> int:
    """Show cameras, frames, sizes and states by performance and by subject.

    The data come from the ledger of CONFIG (default ./config.yaml), or from any MANIFEST.csv.

    \b
    Examples:
      rm360 summary lab.yaml
      rm360 summary lab.yaml --output summary.png
      rm360 summary /data/MANIFEST.csv --json | jq .total
    """
    from rm360_async.commands.summary import summarize_file, summarize_run
    from rm360_async.config import load_settings

    if output is not None and output.suffix.lower() not in (".svg", ".png"):
        raise BadRequest(f"--output {output}: the name must end in .svg or .png")
    if target is not None and target.suffix.lower() == ".csv":
        if config_option is not None:
            raise BadRequest(f"{target} is a manifest; --config cannot be used with it")
        return summarize_file(target, output, as_json=as_json)
    settings = load_settings(resolve_config(target, config_option))
    return run_async(summarize_run, settings, output, as_json)
