"""Which published performances a command line of `rm360 export` selects."""

from __future__ import annotations

from pathlib import Path

from rm360_async.config import load_settings
from rm360_async.dataset import PublishedDataset, open_dataset
from rm360_async.domain.errors import BadRequest


def select_performances(
    targets: tuple[Path, ...], config: Path | None, subjects: tuple[str, ...], performances: tuple[str, ...]
) -> PublishedDataset:
    """Return the published performances in folders, or in the output folder of a config (default ./config.yaml).

    No `subjects` or `performances` select all. Raises BadRequest if nothing is selected.
    """
    folders = tuple(target for target in targets if target.is_dir())
    configs = tuple(target for target in targets if target not in folders) + (() if config is None else (config,))
    if folders and configs:
        raise BadRequest(f"{configs[0]}: give folders or a config, not both" + _hint(configs[0]))
    if len(configs) > 1:
        raise BadRequest(f"two configs were given, {configs[0]} and {configs[1]}; give one")
    if folders:
        dataset = open_dataset(folders)
    else:
        settings = load_settings(configs[0] if configs else Path("config.yaml"))
        dataset = open_dataset(settings.storage.output_dir)
    selected = dataset.filter(subject=subjects or None, performance=performances or None)
    if not len(selected):
        names = " ".join([*(f"--subject {each}" for each in subjects), *(f"--performance {p}" for p in performances)])
        raise BadRequest(f"none of the {len(dataset)} published performances is selected by {names}")
    _require_one_of_each(selected)
    return selected


def _require_one_of_each(selected: PublishedDataset) -> None:
    """Raise BadRequest if two folders hold the same performance: their exports would have one name."""
    folders: dict[str, Path] = {}
    for name, folder in zip(selected.names, selected.folders, strict=True):
        if name in folders:
            raise BadRequest(f"{name} is in {folders[name]} and in {folder}; give one, or export them to two outputs")
        folders[name] = folder


def _hint(path: Path) -> str:
    return "" if path.exists() else " (there is no such file or folder)"
