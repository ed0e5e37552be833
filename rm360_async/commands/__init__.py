"""What the commands do, except `run`, which is in `service`."""
