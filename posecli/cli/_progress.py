"""Progress for people: rich bars on stderr, silent where nobody watches."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)


class Bar:
    """A bar that counts up when it is called."""

    def __init__(self, progress: Progress, what: str, total: int | None) -> None:
        self._progress, self._what = progress, what
        self._task = progress.add_task(what, total=total, rate="")

    def __call__(self, count: int, note: str = "") -> None:
        """Move the bar, and say more beside the speed."""
        speed = self._progress.tasks[0].speed
        rate = f"{speed:.1f} {self._what}/s" if speed else ""
        self._progress.update(self._task, advance=count, rate=f"{rate} {note}".strip())


@contextmanager
def progress_bar(what: str, *, total: int | None, quiet: bool = False) -> Iterator[Bar]:
    """Show a bar with ETA and speed.

    Args:
        what: the unit, in the plural.
        total: how many there will be, if known.
        quiet: show nothing. Nothing is shown either where stderr is no terminal.
    """
    with counting(quiet=quiet) as progress:
        yield Bar(progress, what, total)


def counting(*, quiet: bool) -> Progress:
    """Return what shows bars of things that are counted; its tasks have a field `rate`, shown last."""
    console, silent = _stderr(quiet)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[rate]}"),
    )
    return Progress(*columns, console=console, disable=silent, transient=True)


@contextmanager
def bytes_bar(what: str, *, quiet: bool = False) -> Iterator[Callable[[int, int | None], None]]:
    """Show the bytes of a transfer; gives a function to call with those that came and those in all, if known."""
    console, silent = _stderr(quiet)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=silent, transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _stderr(quiet: bool) -> tuple[Console, bool]:
    """Return stderr, and whether nothing is to be shown there."""
    console = Console(stderr=True)
    return console, quiet or not console.is_terminal or os.environ.get("TERM") == "dumb"
