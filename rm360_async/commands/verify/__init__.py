"""Check published folders against their records."""
