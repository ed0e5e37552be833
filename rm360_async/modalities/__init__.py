"""One small module per modality: from the opened .smc to files in a staging folder."""

from rm360_async.modalities.base import Base
from rm360_async.modalities.copying import Copier
from rm360_async.modalities.judging import give_verdict
from rm360_async.modalities.metadata import Metadata, gather, write_metadata
from rm360_async.modalities.steps import STEPS, carry_out
from rm360_async.modalities.verifying import verify
from rm360_async.modalities.work import Found, Work

__all__ = [
    "STEPS",
    "Base",
    "Copier",
    "Found",
    "Metadata",
    "Work",
    "carry_out",
    "gather",
    "give_verdict",
    "verify",
    "write_metadata",
]
