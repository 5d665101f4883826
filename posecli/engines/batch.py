"""Many sources in one process: one load of the networks, one report a source, and `run.json` about all of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Protocol

from posecli import __version__
from posecli.config import RunOptions
from posecli.engines.layout import run_path
from posecli.engines.local import Stop, annotate_source
from posecli.engines.reports import SourceReport
from posecli.errors import InputError
from posecli.media.files import write_json_atomically
from posecli.media.journal import Entry
from posecli.media.locations import shown
from posecli.pipeline import Pipeline

_REST_S = 1.0  # between two writings of run.json: with thousands of pictures it would cost more than they do


class Watcher(Protocol):
    """Somebody who wants to know how far things are."""

    def begin(self, path: str) -> None:
        """A source is next."""

    def frame(self, entry: Entry, is_new: bool) -> None:
        """A frame is finished; called in another thread. One of an interrupted run is not new."""

    def end(self, report: SourceReport) -> None:
        """A source is done, whatever became of it."""


def annotate_all(
    paths: Sequence[str], pipeline: Pipeline, options: RunOptions, watcher: Watcher, stop: Stop = lambda: False
) -> list[SourceReport]:
    """Annotate sources, one after the other; a bad one does not keep the next from its turn.

    Args:
        paths: files and folders.
        pipeline: the networks.
        options: with `fail_fast`, the first source that fails is the last one.
        watcher: is told of every source and every frame.
        stop: asked after every batch of frames; once it is true, the run ends.

    Returns:
        A report of each source that was begun.

    Raises:
        InputError: `run.json` cannot be written.
    """
    record = _RunRecord(paths, pipeline, options)
    try:
        for path in paths:
            if stop():
                break
            watcher.begin(path)
            report = annotate_source(path, pipeline, options, watcher.frame, stop)
            record.add(report)
            watcher.end(report)
            if report.status == "interrupted" or (options.fail_fast and report.status == "failed"):
                break
    finally:
        record.write()
    return record.reports


class _RunRecord:
    """`run.json`: written again and again, so that a killed batch leaves a true one."""

    def __init__(self, paths: Sequence[str], pipeline: Pipeline, options: RunOptions) -> None:
        self.reports: list[SourceReport] = []
        self._paths, self._path, self._pipeline = paths, run_path(options), pipeline
        self._head: dict[str, Any] = {
            "posecli": __version__,
            **pipeline.provenance(),
            "reading": asdict(options.reading),
            "timeline": asdict(options.timeline),
            "shard": None if options.shard is None else "{}/{}".format(*options.shard),
        }
        self._started, self._written = time.monotonic(), float("-inf")

    def add(self, report: SourceReport) -> None:
        """Take the next source's report."""
        self.reports.append(report)
        if time.monotonic() - self._written > _REST_S:
            with suppress(InputError):  # said at the end, if it is still so
                self.write()

    def write(self) -> None:
        """Write the file."""
        run = {
            **self._head,
            "notes": list(self._pipeline.notes()),
            "seconds": round(time.monotonic() - self._started, 3),
            "sources": [report.as_dict() for report in self.reports],
            "not_started": [shown(path) for path in self._paths[len(self.reports) :]],
        }
        try:
            write_json_atomically(self._path, run)
        except OSError as error:
            raise InputError(f"{self._path}: cannot be written ({error.strerror})") from error
        self._written = time.monotonic()
