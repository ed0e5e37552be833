"""One failure comes out of the exception groups of task groups: the most important one."""

from __future__ import annotations

import errno

import anyio
import pytest

from rm360_async.domain.errors import Cause, Fault
from rm360_async.system.exception_groups import unwraps_faults

pytestmark = pytest.mark.anyio
QUOTA, LOGIN, BUG = Fault(Cause.FILE_QUOTA, "quota"), Fault(Cause.AUTH, "login"), ValueError("bug")


async def fail_together(*failures: Exception) -> None:
    """Raise each failure in a task of its own, all at the same moment, two task groups deep."""
    begun = anyio.Event()

    async def fail(failure: Exception) -> None:
        await begun.wait()
        raise failure

    async with anyio.create_task_group() as outer, anyio.create_task_group() as tasks:
        for failure in failures:
            tasks.start_soon(fail, failure)
        outer.start_soon(anyio.sleep_forever)
        await anyio.sleep(0.01)
        begun.set()


@pytest.mark.parametrize(
    ("failures", "expected"),
    [
        ([QUOTA], QUOTA),
        ([BUG], BUG),
        ([BUG, QUOTA], QUOTA),
        ([QUOTA, BUG, LOGIN], LOGIN),
    ],
)
async def test_the_most_important_failure_is_raised(failures: list[Exception], expected: Exception) -> None:
    with pytest.raises(type(expected)) as caught, unwraps_faults():
        await fail_together(*failures)
    assert caught.value is expected


async def test_an_error_of_the_disk_becomes_a_fault() -> None:
    with pytest.raises(Fault) as caught, unwraps_faults():
        await fail_together(BUG, OSError(errno.ENOSPC, "No space left on device", "/data/a.part"))
    assert caught.value.cause is Cause.DISK_FULL and "/data/a.part" in caught.value.message


async def test_a_failure_keeps_its_cause() -> None:
    with pytest.raises(Fault) as caught, unwraps_faults():
        async with anyio.create_task_group():
            try:
                raise BUG
            except ValueError as bug:
                raise Fault(Cause.UNKNOWN, "failed") from bug
    assert caught.value.__cause__ is BUG


async def test_a_cancellation_and_a_plain_failure_pass_unchanged() -> None:
    with anyio.CancelScope() as scope, unwraps_faults():
        scope.cancel()
        await anyio.sleep_forever()
    assert scope.cancelled_caught
    with pytest.raises(ValueError) as caught, unwraps_faults():
        raise BUG
    assert caught.value is BUG
    with pytest.raises(KeyboardInterrupt), unwraps_faults():
        raise KeyboardInterrupt
