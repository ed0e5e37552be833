"""The entry point: the table of commands, and what every outcome becomes for the shell.

Commands are imported when they are used, so that none pays for another's libraries.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module

import click

from rm360_async import __version__
from rm360_async.domain.errors import BadRequest
from rm360_async.domain.exit_code import ExitCode
from rm360_async.system.os_errors import fault_in

_COMMANDS = {
    "run": "Download, extract and publish until nothing is left to do.",
    "status": "Show what is done, running, waiting and failed.",
    "verify": "Compare published folders with their records.",
    "doctor": "Look before weeks of running at all that a run needs; make a lost ledger again.",
    "retry": "Put failed performances back to pending.",
    "export-manifest": "Write MANIFEST.csv from the ledger.",
    "extract": "Extract one local .smc (or raw + anno pair) to a folder.",
    "inspect": "Show what an .smc file holds.",
    "cameras": "Check a calibration, suggest camera sets, make contact sheets.",
    "report": "Make pages that show whether everything is right: one a performance, and one for the run.",
    "summary": "Show the manifest as tables, and as a plot.",
    "demo": "Make a synthetic remote, run the real thing on it, show the result.",
}


class _Commands(click.Group):
    """The commands by name; `run` lives in `cli/run.py`, and so on."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"rm360_async.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Commands, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="rm360")
@click.pass_context
def rm360(context: click.Context) -> None:
    """Take RenderMe-360 performances from a remote to published folders.

    \b
    Start here:
      rm360 demo                        see it work, without any remote
      rm360 run config.yaml --dry-run   what would be done, and the disk it needs
      rm360 run config.yaml             do it; stop with Ctrl-C, go on with the same command
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit code and print every known failure as one line each."""
    return reporting(lambda: rm360.main(arguments, prog_name="rm360", standalone_mode=False))


def reporting(work: Callable[[], int | None]) -> int:
    """Run some work as a command; return its exit code and print every known failure as one line each."""
    try:
        return work() or ExitCode.DONE
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except (click.ClickException, BadRequest) as error:
        lines = error.problems if isinstance(error, BadRequest) else [error.format_message()]
        return _fail(*lines, code=ExitCode.BAD_REQUEST)
    except BrokenPipeError:  # `rm360 status | head`: nobody reads any more
        return ExitCode.CANNOT_CONTINUE
    except BaseException as error:  # noqa: BLE001 (the last stop: known faults become a line, the rest is ours)
        return _unforeseen(error)
    finally:
        _let_go_of_dead_streams()


def _let_go_of_dead_streams() -> None:
    """Keep Python from ending with 120 because a reader is gone or a disk full: the exit code is about the work."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _unforeseen(error: BaseException) -> int:
    fault = fault_in(error)
    if fault is not None:
        return _fail(str(fault), code=ExitCode.CANNOT_CONTINUE)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return _say("stopped", code=ExitCode.DONE)
    if isinstance(error, SystemExit):
        raise error
    traceback.print_exception(error)
    message = "internal error: this is a bug in rm360_async; please report it with the traceback above"
    return _fail(message, code=ExitCode.CANNOT_CONTINUE)


def _fail(*lines: str, code: int) -> int:
    return _say(*(f"error: {line}" for line in lines), code=code)


def _say(*lines: str, code: int) -> int:
    with suppress(OSError):  # nobody can be told: the exit code still says it
        for line in lines:
            click.echo(line, err=True)
    return code
