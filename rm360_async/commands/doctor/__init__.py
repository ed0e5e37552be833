"""Look before weeks of running at all that a run needs, and make a lost ledger again."""

from rm360_async.commands.doctor.doctor import examine
from rm360_async.commands.doctor.rebuild import rebuild

__all__ = ["examine", "rebuild"]
