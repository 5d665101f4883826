"""Who watches a run of `posecli infer`: bars for people, JSON lines for programs, or nobody."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from posecli.cli._progress import counting

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from posecli.config import ReadConfig
    from posecli.engines.reports import SourceReport
    from posecli.media.journal import Entry

_EVENT_S = 0.5  # least time between two "progress" events
_NAME_WIDTH = 24  # letters of a source's name beside its bar


class Watcher:
    """Follows a run and shows nothing of it, but what went wrong with one source of many."""

    def __init__(self, num_sources: int, reading: ReadConfig, *, as_json: bool = False) -> None:
        """See the class.

        Args:
            num_sources: of the whole run.
            reading: how they are read, to know how many frames there will be.
            as_json: each report goes to stdout as a line of JSON.
        """
        self._num_sources, self._reading, self._as_json = num_sources, reading, as_json

    def begin(self, path: str) -> None:
        """A source is next."""

    def frame(self, entry: Entry, is_new: bool) -> None:
        """A frame is finished."""

    def end(self, report: SourceReport) -> None:
        """A source is done. What is wrong with a lone one is how the command ends."""
        if self._as_json:
            click.echo(_line(report.as_dict()))
        if report.error and self._num_sources > 1 and report.status != "interrupted":
            self.tell(report.error)

    def tell(self, message: str) -> None:
        """Write a line to stderr."""
        click.echo(message, err=True)

    def _num_frames(self, path: str) -> int | None:
        from posecli.media.sources import count_frames

        return count_frames(path, self._reading)


class BarWatcher(Watcher):
    """One bar for the source that runs, and one for all where there are several."""

    def __init__(self, progress: Progress, num_sources: int, reading: ReadConfig, *, as_json: bool = False) -> None:
        super().__init__(num_sources, reading, as_json=as_json)
        self._progress = progress
        self._all = progress.add_task("sources", total=num_sources, rate="") if num_sources > 1 else None
        self._source: TaskID | None = None
        self._people = 0

    def begin(self, path: str) -> None:
        """Begin a new bar."""
        from posecli.media.locations import shown

        name = "".join(filter(str.isprintable, os.path.basename(os.path.normpath(shown(path)))))
        name = name if len(name) <= _NAME_WIDTH else f"{name[: _NAME_WIDTH - 3]}..."
        self._people = 0
        self._source = self._progress.add_task(name, total=self._num_frames(path), rate="")

    def frame(self, entry: Entry, is_new: bool) -> None:
        """Move the source's bar."""
        self._people += len(entry["people"])
        for task in self._progress.tasks:
            if task.id == self._source:
                rate = f"{task.speed:.1f} frames/s " if task.speed else ""
                self._progress.update(task.id, advance=1, rate=f"{rate}{self._people} people")

    def end(self, report: SourceReport) -> None:
        """Move the bar of all."""
        super().end(report)
        if self._source is not None:
            self._progress.remove_task(self._source)
        if self._all is not None:
            self._progress.update(self._all, advance=1)

    def tell(self, message: str) -> None:
        """Write a line to stderr, above the bars."""
        self._progress.console.print(message, markup=False, highlight=False, soft_wrap=True)


class JsonWatcher(Watcher):
    """One line of JSON an event: begin, progress (twice a second at most), end."""

    def __init__(self, num_sources: int, reading: ReadConfig, *, as_json: bool = False) -> None:
        super().__init__(num_sources, reading, as_json=as_json)
        self._begun = 0
        self._counts: dict[str, Any] = {}
        self._told = 0.0

    def begin(self, path: str) -> None:
        """Tell the source, its number and its length."""
        from posecli.media.locations import shown

        self._begun += 1
        self._counts = {"source": shown(path), "frames": 0, "frames_resumed": 0, "people": 0}
        self._counts["frames_total"] = self._num_frames(path)
        self._tell("begin", {**self._counts, "number": self._begun, "of": self._num_sources})

    def frame(self, entry: Entry, is_new: bool) -> None:
        """Tell how far the source is."""
        self._counts["frames"] += 1
        self._counts["frames_resumed"] += not is_new
        self._counts["people"] += len(entry["people"])
        if time.monotonic() - self._told >= _EVENT_S:
            self._told = time.monotonic()
            self._tell("progress", self._counts)

    def end(self, report: SourceReport) -> None:
        """Tell what became of the source."""
        super().end(report)
        self._tell("end", report.as_dict())

    def tell(self, message: str) -> None:
        """Say nothing: the end has it."""

    def _tell(self, event: str, values: dict[str, Any]) -> None:
        click.echo(_line({"event": event, **values}), err=True)


def _line(value: dict[str, Any]) -> str:
    from posecli.media.files import compact

    return compact(value)


@contextmanager
def watching(kind: str, num_sources: int, reading: ReadConfig, *, as_json: bool) -> Iterator[Watcher]:
    """Give the watcher of this kind: bar, none or json; see `Watcher`."""
    if kind == "json":
        yield JsonWatcher(num_sources, reading, as_json=as_json)
        return
    with counting(quiet=kind == "none") as progress:
        if progress.disable:
            yield Watcher(num_sources, reading, as_json=as_json)
        else:
            yield BarWatcher(progress, num_sources, reading, as_json=as_json)
