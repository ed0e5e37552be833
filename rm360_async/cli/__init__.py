"""Arguments to calls to exit codes, nothing else."""

from rm360_async.cli.main import main, reporting

__all__ = ["main", "reporting"]
