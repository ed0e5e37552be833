"""Exports: published performances as other programs read them.

Theory of operation. A format is one module in `formats/`: it divides a performance into units (the whole performance,
or one moment of it), writes a unit to a staging folder, and checks there, by the formulas of the program that will
read it, that known points come back where the published cameras see them. Only a unit that passed gets its record
`.rm360_export.json` and, by one rename, its name. So whatever has its name is whole and was right when it was written;
a killed export leaves a staging folder, which the next one removes. The record says what the unit was made from, so
a later export or `rm360 verify` knows whether that is still so. Published folders are only read.
"""
