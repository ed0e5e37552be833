"""`rm360 init`: make a config from what rclone, the remote and the disks have."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rm360_async.cli.options import config_path, content_selection, resolve_config, run_async, selection
from rm360_async.domain.errors import BadRequest
from rm360_async.domain.exit_code import ExitCode

if TYPE_CHECKING:
    from rm360_async.commands.init.disks import FreeSpace
    from rm360_async.commands.init.remote_folder import OpenedFolder

PATH = click.Path(path_type=Path)
_MAX_FOLDERS_SHOWN = 30


@click.command("init")
@config_path
@click.option("--remote", metavar="NAME[:PATH]", help="The rclone remote; default: the only one, or you are asked.")
@click.option("--folder", metavar="LINK|ID", default="", help="The link or the id of the dataset's folder on Drive.")
@click.option("--output-dir", type=PATH, help="Where published folders go; default: on the disk with the most space.")
@selection
@content_selection
@click.option("--example", metavar="NAME", help="Select as an example config does; --examples lists them.")
@click.option("--examples", is_flag=True, help="List the example configs, and end.")
@click.option("--yes", is_flag=True, help="Ask nothing: take what is proposed, or say what is to be decided.")
@click.option("--force", is_flag=True, help="Replace the config if it exists.")
def command(
    config: Path | None,
    config_option: Path | None,
    remote: str | None,
    folder: str,
    output_dir: Path | None,
    subjects: tuple[str, ...],
    performances: tuple[str, ...],
    cameras: tuple[str, ...],
    modalities: tuple[str, ...],
    example: str | None,
    *,
    examples: bool,
    yes: bool,
    force: bool,
) -> int:
    """Make a commented CONFIG: asks rclone for the remotes, finds the dataset's folder and its layout, looks for disks.

    Each question proposes an answer. Without a selection the config selects one subject, to try it. Nothing but CONFIG
    is written.

    \b
    Examples:
      rm360 init lab.yaml
      rm360 init lab.yaml --folder https://drive.google.com/drive/folders/1AbC... --example audio
      rm360 init lab.yaml --yes --remote gdrive --output-dir /data/rm360/subjects --subject 0018-0040
      rm360 init --examples
    """
    from rm360_async.commands.init.new_config import require_new, write_config
    from rm360_async.config.template import example_names

    if examples:
        for name, sentence in example_names().items():
            click.echo(f"{name:<14}{sentence}")
        return ExitCode.DONE
    path = resolve_config(config, config_option)
    require_new(path, force=force)
    given = {"subjects": subjects, "performances": performances, "cameras": cameras, "modalities": modalities}
    questions = _Questions(ask=not yes)
    values = _checked_selection({key: value for key, value in given.items() if value})
    opened = questions.release(questions.folder(questions.remote(remote), folder))
    values = questions.selection(opened, values, example)
    for section, keys in questions.storage(output_dir).items():
        values.setdefault(section, {}).update(keys)
    values["google_drive"] = _drive_values(opened)
    write_config(path, values)
    _print_next_steps(path, opened, values)
    return ExitCode.DONE


def _checked_selection(given: dict[str, tuple[str, ...]]) -> dict[str, Any]:
    """Return the selection of the options as a config has it. Raises BadRequest for a wrong one."""
    from rm360_async.config import parse_cameras, parse_filter, parse_modalities

    parse_filter(given.get("subjects", ()), given.get("performances", ()))
    for key, parse in (("cameras", parse_cameras), ("modalities", parse_modalities)):
        if key in given:
            parse(given[key])
    return {key: value[0] if len(value) == 1 else list(value) for key, value in given.items()}


@dataclass
class _Questions:
    """The questions of the dialogue; with `ask` False each takes what it would propose, or raises BadRequest."""

    ask: bool

    def remote(self, given: str | None) -> str:
        """Return the remote: the given one, or one of those that rclone knows."""
        from rm360_async.commands.init.remote_folder import configured_remotes

        if given:
            return given.removesuffix(":") if given.endswith(":") and not given.startswith(":") else given
        remotes = run_async(configured_remotes)
        lines = [f"{remote.name}  ({remote.type})" for remote in remotes]
        return remotes[self._choice("the remote", lines, "--remote NAME")].name

    def folder(self, remote: str, given: str) -> OpenedFolder:
        """Return the folder on the remote at which the search for a release begins."""
        from rm360_async.commands.init.remote_folder import open_folder
        from rm360_async.config.parsers import folder_id_in

        if given:
            return run_async(open_folder, remote, folder_id_in(given))
        opened = run_async(open_folder, remote)
        if not (self.ask and opened.is_drive and opened.structure is None):
            return opened
        text = "Link or id of the dataset's folder (empty: look for it on the remote)"
        given = click.prompt(text, default="", show_default=False, err=True)
        return run_async(open_folder, remote, folder_id_in(given)) if given else opened

    def release(self, opened: OpenedFolder) -> OpenedFolder:
        """Return the folder that holds a release: this one, or one below it."""
        from rm360_async.commands.init.remote_folder import find_inner_releases, open_inner

        while opened.structure is None:
            click.echo(f"{opened} holds no release; looking into its folders ...", err=True)
            releases = run_async(find_inner_releases, opened)
            folders = [release.folder for release in releases] or list(opened.folders)
            if not folders:
                raise BadRequest(f"{opened} holds no folder: give the dataset's folder with --folder LINK or --remote")
            lines = [f"{each.path}/" + (f" ({each.id})" if opened.is_drive else "") for each in folders]
            if not releases and not self.ask:
                raise BadRequest(
                    f"{opened} holds no release, but {', '.join(lines[:_MAX_FOLDERS_SHOWN])}: give the dataset's folder"
                    " with --folder LINK, or --remote NAME:PATH"
                )
            chosen = folders[
                self._choice("the dataset's folder", lines, "--folder ID" if opened.is_drive else "--remote NAME:PATH")
            ]
            opened = run_async(open_inner, opened, chosen)
        click.echo(f"{opened}: {opened.contents()}", err=True)
        return opened

    def selection(self, opened: OpenedFolder, given: dict[str, Any], example: str | None) -> dict[str, Any]:
        """Return the sections of what is selected: as given, as an example has it, or one subject to try."""
        from rm360_async.config.template import example_names, example_values

        names = [name for name, values in _examples().items() if values in ("", opened.structure)]
        if example is not None and example not in example_names():
            raise BadRequest(f"--example {example}: there is no such example; there are {', '.join(example_names())}")
        if example is None and not given and self.ask:
            sentences = example_names()
            lines = ["one subject, to try it", *(f"{name}: {sentences[name]}" for name in names)]
            chosen = self._choice("what to download", lines, "--example NAME")
            example = names[chosen - 1] if chosen else None
        values = example_values(example) if example is not None else {}
        extraction = values.setdefault("extraction", {})
        extraction.update(given)
        if "subjects" not in extraction:
            extraction["subjects"] = [self._first_subject(opened)]
        return values

    def storage(self, given: Path | None) -> dict[str, Any]:
        """Return the sections `storage` and `limits` for the given folder, or one on a disk with free space."""
        from rm360_async.commands.init.disks import writable_disks
        from rm360_async.commands.init.new_config import proposed_limits

        path = given or self._output_dir(writable_disks())
        sections: dict[str, Any] = {"storage": {"output_dir": _path_text(path)}}
        return sections | ({"limits": limits} if (limits := proposed_limits(path.expanduser().absolute())) else {})

    def _output_dir(self, disks: list[FreeSpace]) -> Path:
        from rm360_async.commands.init.new_config import output_dir_on
        from rm360_async.domain.formatting import size_text

        if not disks:
            raise BadRequest("there is no disk that this user may write to: give --output-dir")
        path = output_dir_on(disks[0].folder)
        if not self.ask:
            return path
        lines = [f"  {_path_text(each.folder)}  {size_text(each.bytes)} free" for each in disks]
        click.echo("\n".join(["", "Disks that you may write to:", *lines]), err=True)
        return Path(click.prompt("Folder for published data", default=_path_text(path), err=True))

    def _first_subject(self, opened: OpenedFolder) -> str:
        from rm360_async.commands.init.remote_folder import open_inner
        from rm360_async.domain.names import Structure, is_subject

        if opened.structure is Structure.PAIR:
            kinds = {folder.path: folder for folder in opened.folders}
            opened = run_async(open_inner, opened, kinds.get("raw") or kinds["anno"])
        subjects = [folder.path for folder in opened.folders if is_subject(folder.path)]
        if not subjects:
            raise BadRequest(f"{opened} holds no subject yet: give --subject")
        return subjects[0]

    def _choice(self, what: str, lines: list[str], option: str) -> int:
        """Return the index of the chosen line, or of the only one. Without asking, several are a BadRequest."""
        if len(lines) == 1:
            return 0
        if not self.ask:
            raise BadRequest(f"several are possible for {what}: {', '.join(lines)}; choose one with {option}")
        click.echo(f"\n{what[0].upper()}{what[1:]}:", err=True)
        for number, line in enumerate(lines, 1):
            click.echo(f"  {number:>2}  {line}", err=True)
        chosen: int = click.prompt("Number", default=1, type=click.IntRange(1, len(lines)), err=True)
        return chosen - 1


def _examples() -> dict[str, str]:
    """Return the examples that there are, each with the layout that it is for; "" for any."""
    from rm360_async.config.template import example_names, example_values

    return {name: example_values(name).get("google_drive", {}).get("structure", "") for name in example_names()}


def _drive_values(opened: OpenedFolder) -> dict[str, str]:
    assert opened.structure is not None
    values = {"remote_name": opened.remote_name, "structure": opened.structure.value}
    return values | ({"root_folder_id": opened.root_folder_id} if opened.root_folder_id else {})


def _path_text(path: Path) -> str:
    """Return a path for a config: absolute, with ~ for the home folder."""
    path = path.expanduser().absolute()
    return str("~" / path.relative_to(Path.home())) if path.is_relative_to(Path.home()) else str(path)


def _print_next_steps(path: Path, opened: OpenedFolder, values: dict[str, Any]) -> None:
    lines = [f"{path} is written:", f"  from {opened}", f"  to {values['storage']['output_dir']}"]
    for key, value in values["extraction"].items():
        lines.append(f"  {key}: {value if isinstance(value, str) else ', '.join(map(str, value))}")
    steps = ["doctor {}", "run {} --dry-run", "run {}"]
    click.echo("\n".join([*lines, "next:", *(f"  rm360 {step.format(path)}" for step in steps)]))
