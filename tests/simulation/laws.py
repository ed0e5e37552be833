"""The laws of a world: each a sentence; `checks` and `end_checks` hold the code that looks whether they are kept.

A law that the code is known to break stays here, marked with `known`: its breaches are reported apart. No law is
known to be broken now.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Law:
    """What holds in every world; `known` says why the code is known to break it.

    `estimated`: its bound is an estimate of what a world allows. A round that breaks it is for a person to look at.
    """

    name: str
    sentence: str
    known: str = ""
    estimated: bool = False


ONCE = Law("once", "no performance is processed by two at once, and none is published twice unless that was asked for")
NOTHING_LOST = Law("nothing lost", "a run ends when every performance is published or has failed for a stated reason")
DUE_FIRST = Law(
    "due first",
    "a retry that has been due for half an hour is not overtaken by a performance that never began",
)
STARTS = Law("starts", "nothing that may start waits longer than a minute while a download is free")
ASKED = Law(
    "asked",
    "a performance that waits for a quota is tried when the config has an account that was never asked for it",
)
PROMISES = Law("promises", "spool and free space stay within the limits of the config at every instant")
RATE = Law("rate", "an account that refuses for its rate is left alone by all downloads until the pause is over")
QUOTA = Law("quota", "a file whose quota is used up is not asked of that account again within its day")
TRIES = Law("tries", "a performance is tried 1 + max_retries times, and not once more until a person or a run asks")
GOES_ON = Law(
    "goes on",
    "a service ends only when its work is done: what passes by itself does not end it",
)
MACHINE = Law(
    "machine",
    "once the processes of three performances in a row did not begin, a downloader takes one more job at most",
)
STATUS = Law(
    "status", "what a run shows of each performance is what the ledger says, and every performance is counted once"
)
AT_REST = Law("at rest", "after a run the ledger, the disk and the leases agree")
LIVENESS = Law(
    "liveness", "with all faults over, a run ends within 1.1 of the time that bytes and waits need", estimated=True
)
EXPECTED = Law(
    "expected end",
    "once a tenth is done, the middle one of the ends that a lone run expects is right within a factor of 2",
    estimated=True,
)
ENDS = Law("ends", "a run ends: it does not do the same again and again")
SOUND = Law("sound", "nothing but a stated fault ends a process")
LAWS = (
    *(ENDS, SOUND, ONCE, NOTHING_LOST, DUE_FIRST, STARTS, ASKED, PROMISES, RATE),
    *(QUOTA, TRIES, GOES_ON, MACHINE, STATUS, AT_REST, LIVENESS, EXPECTED),
)


@dataclass(frozen=True)
class Breach:
    """A law that was broken, when (seconds), how, and what happened just before."""

    law: Law
    at: float
    message: str
    before: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.law.name} ({self.law.sentence}): {self.message}"
