"""`python -m rm360_async` is the same as the installed script `rm360`."""

from rm360_async.cli.program import program

program()
