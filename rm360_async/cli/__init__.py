"""The command line: arguments in, exit codes and messages out; the work is in `commands` and `service`."""

from rm360_async.cli.main import main, run_reporting_errors

__all__ = ["main", "run_reporting_errors"]
