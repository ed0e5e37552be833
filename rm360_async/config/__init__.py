"""Read config.yaml into frozen settings, with all errors reported at once.

Modules that need pydantic are imported on first use: `extract` only parses a camera list, and would spend a fifth of
its start-up time on models of a file that it does not have.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rm360_async.config.parsers import parse_cameras, parse_filter, parse_modalities

if TYPE_CHECKING:
    from rm360_async.config.load import load_settings
    from rm360_async.config.settings import Extraction, GoogleDrive, Limits, Logging, Processing, Settings, Storage

__all__ = [
    "Extraction",
    "GoogleDrive",
    "Limits",
    "Logging",
    "Processing",
    "Settings",
    "Storage",
    "load_settings",
    "parse_cameras",
    "parse_filter",
    "parse_modalities",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{'load' if name == 'load_settings' else 'settings'}"), name)
