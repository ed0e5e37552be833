"""`python -m rm360_async` is the same as the installed script `rm360`."""

from rm360_async.program import program

program()
