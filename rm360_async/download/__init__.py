"""Everything that talks to the remote."""
