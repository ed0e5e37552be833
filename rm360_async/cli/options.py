"""Options that several commands share."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import click

from rm360_async.domain.errors import BadRequest

ALL = "all"
Result = TypeVar("Result")
Command = TypeVar("Command", bound=Callable[..., Any])


def config_path(function: Command) -> Command:
    """Take the config as an argument or as --config; `chosen_config` decides."""
    argument = click.argument("config", required=False, type=click.Path(path_type=Path))
    option = click.option("--config", "config_option", type=click.Path(path_type=Path), help="The same as CONFIG.")
    return argument(option(function))


def chosen_config(config: Path | None, config_option: Path | None) -> Path:
    """Return the config's path: the argument, the option, or ./config.yaml."""
    if config is not None and config_option is not None and config != config_option:
        raise BadRequest(f"two configs were given, {config} and {config_option}; give one")
    return config or config_option or Path("config.yaml")


def selection(function: Command) -> Command:
    """Take --subject and --performance, each any number of times."""
    subject = click.option("--subject", "subjects", multiple=True, metavar="ID", help="Only this subject, e.g. 0018.")
    performance = click.option(
        "--performance", "performances", multiple=True, metavar="NAME", help="Only this one, e.g. s1_all or 's*'."
    )
    return subject(performance(function))


def every_or(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of a selection; none, which means all, for `all`."""
    return () if names == (ALL,) else names


def run_async(function: Callable[..., Awaitable[Result]], *arguments: object) -> Result:
    """Run an async function to its end on the event loop (uvloop where it exists); return its result."""
    import anyio

    options = {"use_uvloop": find_spec("uvloop") is not None}
    with _deaf_afterwards() as deafen:

        async def to_its_end() -> Result:
            try:
                return await function(*arguments)
            finally:
                deafen()

        return anyio.run(to_its_end, backend="asyncio", backend_options=options)


@contextmanager
def _deaf_afterwards() -> Iterator[Callable[[], None]]:
    """Give what makes us ignore stops until the block is left: a second Ctrl-C must not break off the loop's end."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def deafen() -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)

    try:
        yield deafen
    finally:
        for number, answer in before.items():
            signal.signal(number, answer)
