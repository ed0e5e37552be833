"""Suites that try to break what rm360 promises, with the real parts: kills, faulty disks and hostile input.

The seed causes the same disturbances again (the exact moment of a kill at a random time is not repeatable). Each
violation is reported at once, with the command that repeats it and the folder where its files are kept.

\b
Examples:
  scripts/suites crash                                      1,000 kills
  scripts/suites disk --rounds 50                           full, exhausted, read-only and broken disks
  scripts/suites hostile --rounds 300 --only bombs          one kind only
  scripts/suites soak --rounds 500                          500 performances in bad weather, one session
  scripts/suites crash --seed 7 --only group-step --at 12   one session on one remote again
  scripts/suites all --rounds 200 --markdown                the table as Markdown
"""

from __future__ import annotations

import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from fault_injection import crash, disk, soak
from fault_injection.result import Case, SuiteResult
from fault_injection.session import Sessions, cases
from fault_injection.tally import SuiteTally, table
from fuzz import suite as hostile

Options = dict[str, Any]


def crash_suite(options: Options, folder: Path, tally: SuiteTally) -> None:
    """Kill runs until there were enough kills."""
    sessions = Sessions(folder, crash.originals(folder), crash.run_session, crash.is_suited)
    _run_sessions(sessions, crash.WEIGHTS, options, tally)
    if options["only"] is None and (missed := sorted(crash.STEP_NAMES - set(sessions.hits))):
        click.echo(f"no kill came at: {', '.join(missed)}")


def disk_suite(options: Options, folder: Path, tally: SuiteTally) -> None:
    """Disturb the disks of runs often enough; kinds that this system cannot run are reported and left out."""
    sessions = Sessions(folder, disk.originals(folder), disk.run_session, disk.is_suited)
    (folder / "try").mkdir()
    unavailable = disk.unavailable_kinds(folder / "try")
    for kind, reason in unavailable.items():
        click.echo(f"left out: {kind}, because {reason}")
    if options["only"] not in unavailable:
        weights = {kind: weight for kind, weight in disk.WEIGHTS.items() if kind not in unavailable}
        _run_sessions(sessions, weights, options, tally)


def _run_sessions(sessions: Sessions, weights: dict[str, int], options: Options, tally: SuiteTally) -> None:
    for case in cases(tally.suite, weights, options["seed"], options["only"], options["at"]):
        if tally.rounds >= options["rounds"]:
            break
        result = sessions.run(case)
        tally(result)
        sessions.remove_evidence(result)


def soak_suite(options: Options, folder: Path, tally: SuiteTally) -> None:
    """Run one session over that many performances."""
    case = Case("weather", options["seed"], options["at"] or 0, "soak")
    start = time.monotonic()
    session = soak.run_soak(case, folder, options["rounds"], click.echo)
    ended = "violation" if session.violations else "finished"
    seconds = time.monotonic() - start
    disturbances = session.weather.total()
    tally(SuiteResult(case, ended, session.violations, [session.root / "work"], seconds, disturbances))


def hostile_suite(options: Options, folder: Path, tally: SuiteTally) -> None:
    """Run the rounds with hostile input: .smc files, and the other kinds in proportion."""
    plan = hostile.Plan(options["rounds"], options["seed"], options["only"], options["at"])
    cases = list(plan.cases())
    unverified = anyio.run(hostile.run_rounds, cases, folder, tally, options["many"], options["processes"])
    click.echo(f"{unverified} published files could not be compared, because plain h5py could not read them")


SUITES: dict[str, tuple[Callable[[Options, Path, SuiteTally], None], dict[str, str], int]] = {
    "crash": (crash_suite, crash.KINDS, 1000),
    "disk": (disk_suite, disk.KINDS, 200),
    "hostile": (hostile_suite, hostile.FAULTS, 5000),
    "soak": (soak_suite, soak.KINDS, 500),
}
"""Each suite: the function that runs it, the fault of each of its kinds, and its default number of rounds."""


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("suite", type=click.Choice([*SUITES, "all"]))
@click.option(
    "--rounds", type=int, help="Kills, disk faults, .smc files, performances (default: 1000, 200, 5000, 500)."
)
@click.option("--seed", type=int, help="The seed that an earlier run printed (default: a random one).")
@click.option("--only", metavar="KIND", help="One kind, as in the table.")
@click.option("--at", type=int, help="Only this case of the kind.")
@click.option("--processes", default=2, show_default=True, help="Workers at once (hostile).")
@click.option("--many", default=200_000, show_default=True, help='How many names are "many" (hostile).')
@click.option("--markdown", is_flag=True, help="Print the table as Markdown.")
@click.option(
    "--kept", default="violations", type=click.Path(path_type=Path), help="Folder for the files of violations."
)
def main(suite: str, **options: Any) -> None:
    """Run the rounds; exit 1 if there was any violation."""
    chosen = list(SUITES) if suite == "all" else [suite]
    if options["at"] is not None and options["only"] is None:
        raise click.UsageError("--at needs --only KIND, as in the line that reports a violation")
    if options["only"] is not None and (suite == "all" or options["only"] not in SUITES[suite][1]):
        kinds = "" if suite == "all" else f"; {suite} has {', '.join(SUITES[suite][1])}"
        raise click.UsageError(f"--only needs one suite and one of its kinds{kinds}")
    options["seed"] = secrets.randbelow(10**6) if options["seed"] is None else options["seed"]
    click.echo(f"seed {options['seed']}")
    tallies = [_run_suite(name, options) for name in chosen]  # Ctrl-C or TERM ends a suite, not the table
    click.echo(table(tallies, markdown=options["markdown"]))
    click.echo(f"seed {options['seed']}")
    sys.exit(1 if any(tally.violations for tally in tallies) else 0)


def _run_suite(name: str, options: Options) -> SuiteTally:
    run, kinds, default_rounds = SUITES[name]
    folder = Path(tempfile.mkdtemp(prefix=f"rm360-{name}-"))
    tally = SuiteTally(name, kinds, options["kept"])
    try:
        run({**options, "rounds": options["rounds"] or default_rounds}, folder, tally)
    except KeyboardInterrupt:
        click.echo(f"{name}: stopped after {tally.rounds} rounds")
    except Exception:
        click.echo(f"{name}: the suite itself failed, after this:\n{table([tally], markdown=options['markdown'])}")
        raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return tally


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    main()
