"""`rm360 completion`: print what makes a shell complete commands and options."""

from __future__ import annotations

import click

from rm360_async.domain.exit_code import ExitCode


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> int:
    """Print the script that makes SHELL complete the commands and options of rm360.

    \b
    Examples:
      rm360 completion bash > ~/.local/share/bash-completion/completions/rm360
      rm360 completion zsh > ~/.zfunc/_rm360      (a folder of your fpath)
      rm360 completion fish > ~/.config/fish/completions/rm360.fish
    """
    from click.shell_completion import get_completion_class

    from rm360_async.cli.main import rm360

    kind = get_completion_class(shell)
    assert kind is not None, "click knows each of the choices"
    click.echo(kind(rm360, {}, "rm360", "_RM360_COMPLETE").source())
    return ExitCode.DONE
