"""The ledger: intent and history of every performance, which process works on what, and MANIFEST.csv made from it.

Disk is the truth about content, the ledger about intent: it can be rebuilt from the published folders, and
losing it costs only history and counters. No other room speaks SQL.
"""

from rm360_async.ledger.adoption import AdoptedFolders, ImportResult, adopt_folders, import_existing
from rm360_async.ledger.claims import Claims
from rm360_async.ledger.earlier_manifest import keep_earlier_manifest
from rm360_async.ledger.ledger import Ledger, opened
from rm360_async.ledger.ledger_file import SQLITE_VERSION, ledger_path, lock_path, quarantine
from rm360_async.ledger.ledger_file import create as create_ledger
from rm360_async.ledger.manifest_csv import ManifestWriter, manifest_text, write_manifest
from rm360_async.ledger.values import Attempt, Run, Totals

__all__ = [
    "SQLITE_VERSION",
    "AdoptedFolders",
    "Attempt",
    "Claims",
    "ImportResult",
    "Ledger",
    "ManifestWriter",
    "Run",
    "Totals",
    "adopt_folders",
    "create_ledger",
    "import_existing",
    "keep_earlier_manifest",
    "ledger_path",
    "lock_path",
    "manifest_text",
    "opened",
    "quarantine",
    "write_manifest",
]
