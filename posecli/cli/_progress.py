"""Progress for people: a rich bar on stderr, silent where nobody watches."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Advance(Protocol):
    """Counts up, and may say more beside the speed."""

    def __call__(self, count: int, note: str = "") -> None:
        """Move the bar."""


@contextmanager
def progress_bar(what: str, *, total: int | None, quiet: bool = False) -> Iterator[Advance]:
    """Show a bar with ETA and speed; yields a function that counts up.

    Args:
        what: the unit, in the plural.
        total: how many there will be, if known.
        quiet: show nothing. Nothing is shown either where stderr is no terminal.
    """
    console = Console(stderr=True)
    silent = quiet or not console.is_terminal or os.environ.get("TERM") == "dumb"
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[rate]}"),
    )
    with Progress(*columns, console=console, disable=silent, transient=True) as progress:
        task = progress.add_task(what, total=total, rate="")

        def advance(count: int, note: str = "") -> None:
            speed = progress.tasks[0].speed
            rate = f"{speed:.1f} {what}/s" if speed else ""
            progress.update(task, advance=count, rate=f"{rate} {note}".strip())

        yield advance
