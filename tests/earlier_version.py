"""A workspace that rm360 0.2.0 left: remote, ledger, published folders and spooled files, as one archive.

It was made with the commands and the Ledger class of 0.2.0 from files of `tiny_smc`. Subject 0018 has

- e0 published whole; e1 published with metadata and images of camera 25 alone;
- e2 failed, since its file is no .smc, which lies in `kept/`; e8 download_failed, since the remote lacks it;
- e3 waiting for its quota; e4 published, and forced to be extracted again;
- e5 interrupted, with a part of 12,000 bytes in temp; e6 with a whole file in temp; e7 killed while downloading.
"""

from __future__ import annotations

import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

ARCHIVE = Path(__file__).parent / "data" / "workspace-0.2.0.tar.gz"
PART_BYTES = 12_000


def unpack(root: Path) -> Path:
    """Unpack the archive to `root/remote` and `root/work`; return the path of its ledger."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(root, filter="tar")  # keeps files that only may be read so
    return root / "work" / "MANIFEST.sqlite"


def change(ledger: Path, sql: str, *values: object) -> None:
    """Carry out one statement in a ledger's file."""
    with closing(sqlite3.connect(ledger, isolation_level=None)) as database:
        database.execute(sql, values)
