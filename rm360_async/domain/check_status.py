"""The result of one check, in the doctor, in the checks of a calibration and on the pages of the report."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum


class CheckState(str, Enum):
    """State of a check; `UNCHECKED` means that there was too little data to check, so it is neither good nor bad."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    UNCHECKED = "not checked"


SEVERITY = (CheckState.OK, CheckState.WARN, CheckState.FAIL)
"""The states of what was checked, from good to bad."""


def worst_state(states: Iterable[CheckState], default: CheckState = CheckState.UNCHECKED) -> CheckState:
    """Return the worst state, disregarding `UNCHECKED`; `default` if nothing was checked."""
    return max((state for state in states if state in SEVERITY), key=SEVERITY.index, default=default)
