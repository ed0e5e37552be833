"""Start a child of the service as `rm360_async/system/_launch.py` does; a worker with the hooks of `sitecustomize`."""

from __future__ import annotations

import os
import sys
from importlib import import_module

FOLDER = os.path.dirname(os.path.abspath(__file__))
REAL = os.path.join(FOLDER, "..", "..", "rm360_async", "system", "_launch.py")

if __name__ == "__main__":
    if sys.argv[2] == "--worker":
        sys.path.insert(0, FOLDER)
        import_module("sitecustomize").act_at_launch()

        sys.path.remove(FOLDER)
    with open(REAL) as file:
        exec(compile(file.read(), REAL, "exec"))
