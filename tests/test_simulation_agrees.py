"""A real run and the same in the simulation agree: in duration, and in how every attempt ended.

`scripts/simulate --beside-a-run 2` does the same with two gigabytes.
"""

from __future__ import annotations

import pytest
from drive_server import DriveServer
from simulation.agreement import compare, history
from simulation.real_run import SHORT


@pytest.mark.slow
def test_a_real_run_and_a_simulated_one_agree(drive_server: DriveServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The duration is measured a second time if it differs: other programs may have had the machine for seconds."""
    comparison = compare(drive_server, SHORT, monkeypatch)
    if not comparison.has_same_duration:
        print(comparison)
        comparison = compare(drive_server, SHORT, monkeypatch)
    print(comparison)
    assert comparison.real.exit_code == 0 and not comparison.simulated.breaches
    assert history(comparison.simulated.attempts) == history(comparison.real.attempts)
    assert comparison.has_same_duration
