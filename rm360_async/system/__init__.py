"""The machine: processes, files, logs, systemd."""
