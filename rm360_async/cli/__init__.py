"""The command line: arguments in, exit codes and messages out; the work is in `commands` and `service`."""
