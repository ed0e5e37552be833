"""`rm360 doctor`: check everything a long run depends on, and rebuild a lost ledger."""

from rm360_async.commands.doctor.doctor import run_checks
from rm360_async.commands.doctor.rebuild import rebuild

__all__ = ["rebuild", "run_checks"]
