"""`rm360 export-manifest`: MANIFEST.csv from the ledger."""

from __future__ import annotations

from pathlib import Path

import click

from rm360_async.cli.options import config_path, resolve_config, run_async


@click.command("export-manifest")
@config_path
@click.option(
    "--output", metavar="PATH", help="The file to write, or '-' for stdout; by default storage.manifest_path."
)
def command(config: Path | None, config_option: Path | None, output: str | None) -> int:
    """Write MANIFEST.csv from the ledger, in one step; also while a run is active.

    \b
    Examples:
      rm360 export-manifest lab.yaml
      rm360 export-manifest lab.yaml --output - | column -s, -t
    """
    from rm360_async.commands.ledger import export_manifest
    from rm360_async.config import load_settings

    settings = load_settings(resolve_config(config, config_option))
    return run_async(export_manifest, settings, output)
