"""`posecli completion`: the script that teaches a shell to complete posecli."""

from __future__ import annotations

import os
from pathlib import Path

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS), required=False)
@click.pass_context
def completion(ctx: click.Context, shell: str | None) -> None:
    """Print the completion script of SHELL (by default the one in $SHELL).

    Add one line to ~/.bashrc or ~/.zshrc: eval "$(posecli completion bash)". For fish, write the output to
    ~/.config/fish/completions/posecli.fish.
    """
    shell = shell or Path(os.environ.get("SHELL", "")).name
    completer = get_completion_class(shell) if shell in SHELLS else None
    if completer is None:
        raise click.UsageError(f"$SHELL is {shell or 'empty'}; choose from {', '.join(SHELLS)}", ctx)
    root = ctx.find_root().command
    click.echo(completer(root, {}, "posecli", "_POSECLI_COMPLETE").source())
