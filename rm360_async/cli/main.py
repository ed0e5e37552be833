"""The commands, and what each outcome of one becomes for the shell: messages and an exit code.

Commands are imported when they are used, so that none pays for the libraries of another.
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
    "init": "Make a config: asks rclone, finds the dataset's folder, looks for disks.",
    "run": "Download, extract and publish until nothing is left to do.",
    "ls": "List what the remote has: subjects, performances, files, sizes.",
    "status": "Show what is done, running, waiting and failed.",
    "verify": "Compare published folders with their records.",
    "doctor": "Check everything a long run depends on; rebuild a lost ledger.",
    "clean": "Show and remove what is not needed any more.",
    "retry": "Requeue failed performances.",
    "export-manifest": "Write MANIFEST.csv from the ledger.",
    "extract": "Extract one local .smc file (or raw + anno pair) to a folder.",
    "inspect": "Show the contents of an .smc file.",
    "cameras": "Check a calibration, suggest camera sets, make contact sheets.",
    "report": "Write HTML quality reports: one page per performance, one for the run.",
    "export": "Export published performances to what training programs read.",
    "summary": "Show the manifest as tables or as a plot.",
    "node": "Work for a run on another machine, see rm360_async/cluster/README.md.",
    "service": "Print the systemd unit that runs a config for weeks.",
    "completion": "Print the script that makes a shell complete commands and options.",
    "selection": "Explain how subjects, performances, cameras and modalities are selected.",
    "demo": "Run on a synthetic remote and show the result.",
}


class _Commands(click.Group):
    """The commands by name; `run` is in `cli/run.py`, and so on."""

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
    """Download RenderMe-360 performances from a remote and publish them as folders.

    \b
    Start here:
      rm360 demo                        try it without a remote
      rm360 run config.yaml --dry-run   what would be downloaded, and the disk space it needs
      rm360 run config.yaml             do it; Ctrl-C stops, the same command resumes
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return its exit code and print each error as one line."""
    return run_reporting_errors(lambda: rm360.main(arguments, prog_name="rm360", standalone_mode=False))


def run_reporting_errors(function: Callable[[], int | None]) -> int:
    """Call a function as a command; return its exit code and print each error as one line."""
    try:
        return function() or ExitCode.DONE
    except click.exceptions.Exit as request:
        return request.exit_code
    except (click.ClickException, BadRequest) as error:
        lines = error.problems if isinstance(error, BadRequest) else [error.format_message()]
        return _print_errors(*lines, code=ExitCode.BAD_REQUEST)
    except BrokenPipeError:  # `rm360 status | head`: the reader has ended
        return ExitCode.CANNOT_CONTINUE
    except BaseException as error:  # noqa: BLE001 (known faults become a line, the rest is a bug)
        return _report(error)
    finally:
        _detach_broken_streams()


def _detach_broken_streams() -> None:
    """Flush the streams, so that Python does not exit with 120 because a reader is gone or a disk is full."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _report(error: BaseException) -> int:
    fault = fault_in(error)
    if fault is not None:
        return _print_errors(str(fault), code=ExitCode.CANNOT_CONTINUE)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return _print("stopped", code=ExitCode.INTERRUPTED)
    if isinstance(error, SystemExit):
        raise error
    traceback.print_exception(error)
    message = "internal error: this is a bug in rm360_async; please report it with the traceback above"
    return _print_errors(message, code=ExitCode.CANNOT_CONTINUE)


def _print_errors(*lines: str, code: ExitCode) -> int:
    return _print(*(f"error: {line}" for line in lines), code=code)


def _print(*lines: str, code: ExitCode) -> int:
    with suppress(OSError):  # standard error is broken: the exit code still reports the failure
        for line in lines:
            click.echo(line, err=True)
    return code
