"""The command `posecli`: one group, and the boundary where errors become one line and an exit code.

Nothing here loads torch, OpenCV or numpy: commands are imported when they are called.
"""

from __future__ import annotations

import contextlib
import os
import sys
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from posecli import __version__
from posecli.errors import PosecliError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from click.shell_completion import CompletionItem

INTERRUPTED = 130  # 128 + SIGINT, as shells have it; click says 1
BROKEN_PIPE = 141  # 128 + SIGPIPE


class Lazy(NamedTuple):
    """A command that is not imported yet."""

    target: str  # "module:attribute"
    help: str  # the line in `posecli --help`


COMMANDS = {
    "infer": Lazy("posecli.cli.infer:infer", "Annotate the people in images, folders and videos."),
    "eval": Lazy("posecli.cli.eval:evaluate", "Score poses against COCO ground truth."),
    "render": Lazy("posecli.cli.render:render", "Draw saved people, without any network."),
    "weights": Lazy("posecli.cli.weights:weights", "See, fetch, import and check the networks' weights."),
    "train": Lazy("posecli.cli.train:train", "Train a network of the zoo."),
    "bench": Lazy("posecli.cli.bench:bench", "Measure where the time goes."),
    "doctor": Lazy("posecli.cli.doctor:doctor", "Check what this machine can do, and what is missing."),
    "completion": Lazy("posecli.cli.completion:completion", "Print the shell's completion script."),
}


class LazyGroup(click.Group):
    """A group that knows its commands by name and help, and imports one when it runs."""

    def __init__(self, *args: Any, lazy: Mapping[str, Lazy], **options: Any) -> None:
        super().__init__(*args, **options)
        self.lazy = dict(lazy)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands, the most used first."""
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in self.lazy:
            return None
        module, _, attribute = self.lazy[cmd_name].target.partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one may be meant."""
        name = args[0]
        if name not in self.lazy and not ctx.resilient_parsing:
            close = get_close_matches(name, self.lazy, n=1)
            way_out = f"Did you mean {close[0]}?" if close else f"Choose from {', '.join(self.lazy)}."
            raise click.UsageError(f"No such command {name!r}. {way_out}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.help) for name, lazy in self.lazy.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete command names without importing the commands."""
        from click.shell_completion import CompletionItem

        names = [
            CompletionItem(name, help=lazy.help) for name, lazy in self.lazy.items() if name.startswith(incomplete)
        ]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Show the help of a bare `posecli` as a usage error, which click does from 8.2 on."""
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(click.UsageError.exit_code)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; what a user can mend is one line and an exit code, a bug keeps its traceback."""
        try:
            return super().invoke(ctx)
        except PosecliError as error:
            click.echo(str(error), err=True)
            ctx.exit(error.exit_code)
        except (KeyboardInterrupt, click.Abort):
            click.echo("interrupted", err=True)
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            _discard_stdout()
            ctx.exit(BROKEN_PIPE)
        except EOFError as error:  # PyAV's is one, too; click would swallow it as an interrupt
            raise RuntimeError("unexpected end of file") from error


def _discard_stdout() -> None:
    """Let Python flush stdout at exit into nothing. Source: Python docs, library/signal, "Note on SIGPIPE"."""
    with contextlib.suppress(OSError, ValueError):  # a stdout that is no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@click.group(cls=LazyGroup, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="posecli", message="%(prog)s %(version)s")
def main() -> None:
    """Annotate people in images and videos with 17 COCO keypoints."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # an error is one line, and ours
