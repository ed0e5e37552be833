"""`rm360 verify`: check published folders against their records, report, and queue repairs."""
