"""A simulated world around the real decisions: months in seconds, every run repeatable from its seed."""
