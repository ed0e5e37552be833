"""`rm360 init`: what the remote and the disks have, and a config made from it."""
