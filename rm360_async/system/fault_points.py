"""Named points of the walk of a performance at which tests inject faults.

Code calls `reach` after a step that changes what is on disk, or just before one that commits. A test that starts
processes puts another function in the place of `reach` before any other module imports it: it kills the process, lets
it hang or fills the disk at the n-th time that a point is reached. So tests depend on the names of points, which are
strings, and not on the names of functions.
"""

from __future__ import annotations


def reach(point: str) -> None:
    """Do nothing: only fault-injection tests act at a point."""
