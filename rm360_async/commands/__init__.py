"""What each command does, `run` aside."""
