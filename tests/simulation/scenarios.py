"""The worlds by name."""

from __future__ import annotations

from dataclasses import replace

from simulation.accounts import Refusals
from simulation.catalogue import GB, release_of_21
from simulation.line import LineProfile
from simulation.scenario import Faults, Scenario

NO_FAULTS = Faults(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
NO_REFUSALS = Refusals(0, 0, 0, 10**6)
STANDARD = Scenario("one server", "a server on a thin line for a month: 1,000 performances, one account, all faults")
SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        STANDARD,
        replace(
            STANDARD,
            name="four accounts",
            sentence="four accounts, one of which may not have every file; many files are over their quota",
            accounts=4,
            refusals=Refusals(quota=0.15, forbidden=0.02),
            downloads=4,
        ),
        replace(
            STANDARD,
            name="thin lines",
            sentence="a wide line whose connections are thin: eight downloads at once",
            line=LineProfile(2e6, 0.2e6, 0.7, 0.3),
            downloads=8,
        ),
        replace(
            STANDARD,
            name="small disk",
            sentence="extractions slower than the line: the spool is always full, and strangers fill the disk",
            line=LineProfile(12e6, 12e6, 0.6, 0.3),
            extract_rate=1.5e6,
            disk=1500 * GB,
            max_temp_gb=9.5,
            downloads=4,
            faults=Faults(strangers_days=1),
        ),
        replace(STANDARD, name="two instances", sentence="two services on one ledger and one disk", instances=2),
        replace(
            STANDARD,
            name="busy person",
            sentence="a person who stops the service, retries, adds accounts and cameras, and downloads by ranges",
            line=LineProfile(1.2e6, 0.6e6, 0.6, 0.3),
            more_accounts=2,
            refusals=Refusals(quota=0.1),
            fetch="auto",
            output_disk=3000 * GB,
            interferes=True,
            small_performances=60,
            small_requests=3,
        ),
        replace(
            STANDARD,
            name="other release",
            sentence="the 21 subjects as they are listed: pairs of files, the largest of 100 GB",
            release=release_of_21,
            performances=487,
            line=LineProfile(12.5e6, 12.5e6, 0.8, 0.2),
            disk=20_000 * GB,
            max_temp_gb=250,
        ),
        replace(
            STANDARD,
            name="whole release",
            sentence="all 9,500 performances over 100 Mbit/s",
            performances=9500,
            line=LineProfile(12.5e6, 12.5e6, 0.8, 0.2),
            downloads=4,
            workers=4,
            disk=20_000 * GB,
            requests=1,
        ),
    )
}


def small(name: str, performances: int | None = None) -> Scenario:
    """Return a short form of a scenario: few performances of the same sizes, and faults closer together."""
    scenario = SCENARIOS[name]
    performances = performances or scenario.small_performances
    faults = scenario.faults
    closer = replace(
        faults,
        **{field: getattr(faults, field) / 6 for field in faults.__dataclass_fields__ if field.endswith("_days")},
        poisoned=0.06,
    )
    return replace(
        scenario, performances=performances, faults=closer, requests=scenario.small_requests, look_seconds=3 * 3600.0
    )
