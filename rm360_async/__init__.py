"""Download RenderMe-360 performances from a remote and publish them as folders, unchanged and resumably.

`open_performance(folder)` and `open_dataset(folder)` read what is published; see `rm360_async.dataset`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rm360_async.dataset import open_dataset, open_performance

__version__ = "0.3.0"
__all__ = ["__version__", "open_dataset", "open_performance"]


def __getattr__(name: str) -> Any:
    """Import the reading functions when they are first used: commands that read nothing need no numpy."""
    if name in ("open_dataset", "open_performance"):
        from rm360_async import dataset

        return getattr(dataset, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the names of the package with those that `__getattr__` imports."""
    return sorted({*globals(), *__all__})
