"""From the opened .smc to files in a staging folder."""
