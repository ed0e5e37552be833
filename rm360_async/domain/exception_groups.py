"""Failures out of the exception groups that task groups wrap them in.

A task group raises a group even for a single failure, and every caller here knows what to do about one `Fault`, not
about several at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rm360_async.domain.errors import Answer, Fault


@contextmanager
def unwraps_faults() -> Iterator[None]:
    """Raise one failure of a block, which may contain task groups, instead of the group that holds it.

    Of several failures a Fault that stops the service comes first, then any other Fault, then the first failure.
    What is no Exception (a cancellation, a keyboard interrupt, a group that holds one) passes unchanged.
    """
    try:
        yield
    except Exception as error:
        failures = list(_failures_in(error))
        if failures == [error]:
            raise
        failure = min(failures, key=_rank)
        context = failure.__context__
        try:
            raise failure
        finally:
            failure.__context__ = context  # not the group, which contains it


def _failures_in(error: Exception) -> Iterator[Exception]:
    """Yield the failures in a group (Python 3.10 has no class for it), or the error itself where it is none."""
    inner = getattr(error, "exceptions", None)
    if inner is None:
        yield error
        return
    for each in inner:
        yield from _failures_in(each)


def _rank(failure: Exception) -> int:
    if not isinstance(failure, Fault):
        return 2
    return 0 if failure.cause.answer is Answer.STOP else 1
