"""What the simulated remotes hold: the shape of both releases, with sizes drawn from a seed.

The sizes of the 500-subject release follow what was measured on it; those of the 21-subject release are the real
listing. Every file has a size, a time and an md5, as Google Drive lists them.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random

from rm360_async.domain.names import Kind, Performance, Structure, parse_remote_path, remote_path
from rm360_async.domain.record import RemoteFile
from rm360_async.download.rclone import RemoteListing

MB, GB = 10**6, 10**9
_LISTING = Path(__file__).with_name("listing_21id.csv")
_FILES_OF_A_SUBJECT = 19
_WIGS = ("7bk", "3bn", "2g", "4gld")


class Catalogue:
    """The files of a release, by performance; a person may add subjects."""

    def __init__(self, structure: Structure, files: dict[Performance, dict[Kind, RemoteFile]]) -> None:
        self.structure, self.files = structure, files
        self.by_path = {file.path: file for kinds in files.values() for file in kinds.values()}

    def listing(self, subjects: set[str] | None) -> RemoteListing:
        """Return what a remote lists of some subjects, or of all (None)."""
        return RemoteListing(
            {each: kinds for each, kinds in self.files.items() if not subjects or each.subject in subjects}
        )

    def files_of(self, performance: Performance) -> list[RemoteFile]:
        """Return the files of a performance; none if the release does not have it."""
        return list(self.files.get(performance, {}).values())

    def size(self, performance: Performance) -> int:
        """Return the bytes of all files of a performance."""
        return sum(file.size for file in self.files_of(performance))


def release_of_500(dice: Random, performances: int) -> Catalogue:
    """Return the first so many performances of a release with the shape of the 500-subject one."""
    files: dict[Performance, dict[Kind, RemoteFile]] = {}
    subject = 0
    while len(files) < performances:
        subject += 1
        for name, size in _sizes_of_a_subject(dice):
            if len(files) < performances:
                each = Performance(f"{subject:04d}", name)
                files[each] = {Kind.RAW: _file(Structure.SINGLE, each, Kind.RAW, int(size))}
    return Catalogue(Structure.SINGLE, files)


def _sizes_of_a_subject(dice: Random) -> Iterator[tuple[str, float]]:
    """Yield the names and bytes of one subject: key frames, one view of speech but for s3_all, one wig in full."""
    speeches = dice.choice((4, 4, 4, 6))
    for number in range(_FILES_OF_A_SUBJECT - 3 - speeches):
        yield f"e{number}", dice.uniform(0.2, 0.5) * GB
    for number in range(1, speeches + 1):
        yield f"s{number}_all", (dice.uniform(4, 10) if number == 3 else dice.uniform(0.2, 1)) * GB
    yield "h0", dice.uniform(15, 25) * MB
    yield f"h1_{dice.choice(_WIGS)}", dice.uniform(2, 5) * GB
    yield "h2", dice.uniform(15, 25) * MB


def release_of(sizes: Mapping[Performance, int]) -> Catalogue:
    """Return a release of single files with these sizes in bytes."""
    files = {each: {Kind.RAW: _file(Structure.SINGLE, each, Kind.RAW, size)} for each, size in sizes.items()}
    return Catalogue(Structure.SINGLE, files)


def release_of_21(dice: Random, performances: int) -> Catalogue:
    """Return so many performances of the 21-subject release, a pair of files each, as it is listed."""
    files: dict[Performance, dict[Kind, RemoteFile]] = {}
    with _LISTING.open(newline="") as lines:
        for row in csv.DictReader(lines):
            known = parse_remote_path(Structure.PAIR, row["path"])
            if known is not None:
                performance, kind = known
                file = _file(Structure.PAIR, performance, kind, int(row["approx_bytes"]))
                files.setdefault(performance, {})[kind] = file
    pairs = [each for each, kinds in files.items() if len(kinds) == len(Kind)]
    chosen = dice.sample(pairs, min(performances, len(pairs)))
    return Catalogue(Structure.PAIR, {each: files[each] for each in chosen})


def _file(structure: Structure, performance: Performance, kind: Kind, size: int) -> RemoteFile:
    path = remote_path(structure, performance, kind)
    md5 = hashlib.md5(f"{path} {size}".encode(), usedforsecurity=False).hexdigest()
    return RemoteFile(path, size, "2023-05-06T07:08:09Z", md5[:12], md5)
