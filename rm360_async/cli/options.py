"""Options that several commands share, and how they run async functions."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import click

from rm360_async.domain.errors import BadRequest

Result = TypeVar("Result")
Command = TypeVar("Command", bound=Callable[..., Any])


def config_path(function: Command) -> Command:
    """Add the config as an argument and as --config; `resolve_config` decides between them."""
    argument = click.argument("config", required=False, type=click.Path(path_type=Path))
    option = click.option("--config", "config_option", type=click.Path(path_type=Path), help="The same as CONFIG.")
    return argument(option(function))


def resolve_config(config: Path | None, config_option: Path | None) -> Path:
    """Return the path of the config: the argument, the option, or ./config.yaml; raise BadRequest if both differ."""
    if config is not None and config_option is not None and config != config_option:
        raise BadRequest(f"two configs were given, {config} and {config_option}; give one")
    return config or config_option or Path("config.yaml")


def selection(function: Command) -> Command:
    """Add --subject and --performance, each any number of times."""
    subject = selection_option("--subject", "subjects", "Subjects, e.g. 0018 or '0018-0040 -0033'.")
    performance = selection_option("--performance", "performances", "Performances, e.g. s1_all or 's*,e0-e5'.")
    return subject(performance(function))


def content_selection(function: Command) -> Command:
    """Add --cameras and --modalities, each any number of times."""
    cameras = selection_option("--cameras", "cameras", "Cameras, e.g. 20-25 or 'ring:10 +25 -49'.")
    modalities = selection_option(
        "--modalities", "modalities", "Modalities, e.g. images,audio; `rm360 selection` explains all four."
    )
    return cameras(modalities(function))


def selection_option(name: str, parameter: str, text: str) -> Callable[[Command], Command]:
    """Add one option that takes a selection, any number of times."""
    return click.option(name, parameter, multiple=True, metavar="SELECTION", help=text)


def run_async(function: Callable[..., Awaitable[Result]], *arguments: object) -> Result:
    """Run an async function on the event loop (uvloop if it is installed); return its result."""
    from asyncio import CancelledError

    import anyio

    options = {"use_uvloop": find_spec("uvloop") is not None}
    with _late_stops_ignored() as ignore_stops:

        async def run_to_end() -> Result:
            try:
                return await function(*arguments)
            finally:
                ignore_stops()

        try:
            return anyio.run(run_to_end, backend="asyncio", backend_options=options)
        except CancelledError:  # what Ctrl-C becomes with Python 3.10, see anyio's Runner
            raise KeyboardInterrupt from None


@contextmanager
def _late_stops_ignored() -> Iterator[Callable[[], None]]:
    """Give a function that ignores stop signals until the block ends: a second Ctrl-C must not break the loop's end."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ignore_stops() -> None:
        for number in handlers:
            signal.signal(number, signal.SIG_IGN)

    try:
        yield ignore_stops
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
