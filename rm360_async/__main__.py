"""`python -m rm360_async` is the same as the installed script `rm360`."""

from rm360_async.cli.program import program

if __name__ == "__main__":  # a pool of processes imports the main module of its parent again, under another name
    program()
