"""The running service: composition root, startup, plan, progress, signals and summary of `rm360 run`."""
