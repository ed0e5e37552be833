"""The environment variables of the workers: the few that they need, of all that the service has.

Workers parse files from the internet. A bug in a library there must not give away the password of rclone's config or
the token of a cloud, so what is not named here is not passed on.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

PASSED_VARIABLES = {
    *("PATH", "TMPDIR", "TZ", "LANG", "LANGUAGE"),
    *("LD_LIBRARY_PATH", "LD_PRELOAD", "MALLOC_ARENA_MAX"),  # without its libraries no Python starts
    "IMAGEIO_FFMPEG_EXE",
}
"""By name; and every LC_*."""
_SET = {
    "OPENBLAS_NUM_THREADS": "1",  # no thread pools
    "OMP_NUM_THREADS": "1",
    "HDF5_USE_FILE_LOCKING": "FALSE",
}


def worker_environment(base: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment of a worker."""
    return {name: value for name, value in base.items() if name in PASSED_VARIABLES or name.startswith("LC_")} | _SET
