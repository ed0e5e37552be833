"""One failure out of the exception groups that task groups wrap failures in.

A task group raises a group even for a single failure, and every caller here knows what to do about one `Fault`, not
about several at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rm360_async.system.os_errors import fault_in


@contextmanager
def unwraps_faults() -> Iterator[None]:
    """Raise one failure of a block that contains task groups, instead of the group that holds it.

    It is the most important Fault (see `fault_in`, which also makes one of an OSError that names a file), or else the
    first failure. What is no Exception (a cancellation, a keyboard interrupt, a group with one) passes unchanged.
    """
    try:
        yield
    except Exception as error:
        failure = fault_in(error) or _first_failure(error)
        if failure is error:
            raise
        context = failure.__context__
        try:
            raise failure
        finally:
            failure.__context__ = context  # not the group: it contains the failure


def _first_failure(error: Exception) -> Exception:
    """Return the first failure in a group, of which Python 3.10 has no class, or the error itself if it is none."""
    inner = getattr(error, "exceptions", ())
    return _first_failure(inner[0]) if inner else error
