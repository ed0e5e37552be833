"""Pictures in an export: links to the published ones where that is possible, never a way to write into them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def place_file(source: Path, target: Path, mode: str) -> str:
    """Give a published file a name in an export; return how: hard, soft or copy.

    `mode` hard becomes soft where there can be no hard link: across file systems, for files of another user, or if
    the file has too many links already. A soft link has the absolute path of the source. The folder of `target` is
    created. Raises OSError.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if mode == "hard":
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError:
            mode = "soft"
        else:
            return mode
    if mode == "soft":
        target.symlink_to(source.absolute())
    else:
        shutil.copyfile(source, target)
    return mode


def link_note(modes: set[str], wanted: str) -> list[str]:
    """Return a sentence if hard links were wanted and soft ones had to do."""
    if wanted != "hard" or "soft" not in modes:
        return []
    return [
        "pictures are soft links, since hard links are not possible from here (another file system or owner): if the "
        "published folder is replaced, they show its new pictures under the old cameras until this is exported again"
    ]
