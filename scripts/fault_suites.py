"""The suites that try to break what is promised: kills, spoilt disks and hostile input, all to the real parts.

The seed makes the same disturbances again (the moment of a kill within a random one is the machine's own).
Each violation is told at once, with the command that shows it again and the place where its files are kept.

\b
Examples:
  scripts/suites crash                                      1,000 kills
  scripts/suites disk --rounds 50                           full, used up, read-only and broken disks
  scripts/suites hostile --rounds 300 --only bombs          one kind only
  scripts/suites crash --seed 7 --only group-step --at 12   one life of one remote again
  scripts/suites all --rounds 200 --markdown                the table for the README
"""

from __future__ import annotations

import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from fault_injection import crash, disk
from fault_injection.session import Sessions, cases
from fault_injection.tally import SuiteTally, table
from fuzz import suite as hostile

Options = dict[str, Any]


def crash_suite(options: Options, folder: Path, account: SuiteTally) -> None:
    """Kill runs until there were enough kills."""
    sessions = Sessions(folder, crash.originals(folder), crash.live, crash.suited)
    _until_enough(sessions, crash.SHARES, options, account)
    if options["only"] is None and (never := sorted(crash.NAMED - set(sessions.hit))):
        click.echo(f"no kill came at: {', '.join(never)}")


def disk_suite(options: Options, folder: Path, account: SuiteTally) -> None:
    """Spoil the disk of runs until it was done often enough; what cannot be done here is told and left out."""
    sessions = Sessions(folder, disk.originals(folder), disk.live, disk.suited)
    (folder / "tried").mkdir()
    lacking = disk.lacking(folder / "tried")
    for kind, reason in lacking.items():
        click.echo(f"left out: {kind}, because {reason}")
    if options["only"] not in lacking:
        _until_enough(sessions, {k: share for k, share in disk.SHARES.items() if k not in lacking}, options, account)


def _until_enough(sessions: Sessions, shares: dict[str, int], options: Options, account: SuiteTally) -> None:
    for case in cases(account.suite, shares, options["seed"], options["only"], options["at"]):
        if account.rounds >= options["rounds"]:
            break
        verdict = sessions.session(case)
        account(verdict)
        sessions.forget(verdict)


def hostile_suite(options: Options, folder: Path, account: SuiteTally) -> None:
    """Do the rounds with hostile input; a share of them beside the .smc files."""
    plan = hostile.Plan(options["rounds"], options["seed"], options["only"], options["at"])
    cases = list(plan.cases())
    untold = anyio.run(hostile.carry_out, cases, folder, account, options["many"], options["processes"])
    click.echo(f"{untold} successes were of files that plain h5py could not read to the end, so not compared")


SUITES: dict[str, tuple[Callable[[Options, Path, SuiteTally], None], dict[str, str], int]] = {
    "crash": (crash_suite, crash.KINDS, 1000),
    "disk": (disk_suite, disk.KINDS, 200),
    "hostile": (hostile_suite, hostile.FAULTS, 5000),
}
"""Each suite: what does it, its kinds with how each is caused, and how many rounds it has unless told."""


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("suite", type=click.Choice([*SUITES, "all"]))
@click.option("--rounds", type=int, help="Kills, spoilt disks, or .smc files (default: 1000, 200, 5000).")
@click.option("--seed", type=int, help="The seed that an earlier run printed (default: a new one).")
@click.option("--only", metavar="KIND", help="One kind, as in the table.")
@click.option("--at", type=int, help="Only this case of the kind.")
@click.option("--processes", default=2, show_default=True, help="Workers at once (hostile).")
@click.option("--many", default=200_000, show_default=True, help='How many names are "many" (hostile).')
@click.option("--markdown", is_flag=True, help="Print the table for the README.")
@click.option("--kept", default="violations", type=click.Path(path_type=Path), help="Where files are kept.")
def main(suite: str, **options: Any) -> None:
    """Do the rounds; exit 1 when any was a violation."""
    chosen = list(SUITES) if suite == "all" else [suite]
    if options["at"] is not None and options["only"] is None:
        raise click.UsageError("--at needs --only KIND, as in the line that told of the round")
    if options["only"] is not None and (suite == "all" or options["only"] not in SUITES[suite][1]):
        kinds = "" if suite == "all" else f"; {suite} has {', '.join(SUITES[suite][1])}"
        raise click.UsageError(f"--only needs one suite and a kind of it{kinds}")
    options["seed"] = secrets.randbelow(10**6) if options["seed"] is None else options["seed"]
    click.echo(f"seed {options['seed']}")
    accounts = [_done(name, options) for name in chosen]  # stopped by Ctrl-C or TERM, the table is of what was done
    click.echo(table(accounts, markdown=options["markdown"]))
    click.echo(f"seed {options['seed']}")
    sys.exit(1 if any(account.violations for account in accounts) else 0)


def _done(name: str, options: Options) -> SuiteTally:
    does, kinds, usual = SUITES[name]
    folder = Path(tempfile.mkdtemp(prefix=f"rm360-{name}-"))
    account = SuiteTally(name, kinds, options["kept"])
    try:
        does({**options, "rounds": options["rounds"] or usual}, folder, account)
    except KeyboardInterrupt:
        click.echo(f"{name}: stopped after {account.rounds} rounds")
    except Exception:
        click.echo(f"{name}: the suite itself broke off, after this:\n{table([account], markdown=options['markdown'])}")
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return account


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    main()
