"""Many sources: one load of the networks a process, one report a source, and `run.json` about all of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from itertools import groupby
from typing import Any

from posecli import __version__
from posecli.config import RunOptions
from posecli.engines.layout import run_path
from posecli.engines.local import Stop, annotate_source
from posecli.engines.output import Progress
from posecli.engines.pictures import annotate_pictures, is_picture
from posecli.engines.reports import SourceReport
from posecli.engines.team import Team
from posecli.engines.watcher import Watcher
from posecli.errors import InputError
from posecli.media.files import write_json_atomically
from posecli.media.locations import shown
from posecli.pipeline import Pipeline
from posecli.runtime import has_own_memory, share_cores

_REST_S = 1.0  # between two writings of run.json: with thousands of pictures it would cost more than they do


def annotate_all(
    paths: Sequence[str],
    pipeline: Pipeline,
    options: RunOptions,
    watcher: Watcher,
    stop: Stop = lambda: False,
    *,
    team: Team | None = None,
) -> list[SourceReport]:
    """Annotate sources; a bad one does not keep the next from its turn.

    Args:
        paths: files and folders.
        pipeline: the networks; with a team, one that is alike its workers' and stands for them in `run.json`.
        options: with `fail_fast`, the first source that fails is the last one.
        watcher: is told of every source and every frame.
        stop: asked after every batch of frames; once it is true, the run ends.
        team: processes that annotate several sources at once, in place of one after the other.

    Returns:
        A report of each source that was begun.

    Raises:
        InputError: `run.json` cannot be written. Where a source has gone wrong before, its report says so instead: a
            disk that is full has one reason and one way out.
    """
    record = _RunRecord(paths, pipeline, options, team)
    try:
        reports = (
            _in_turn(paths, pipeline, options, watcher, stop)
            if team is None
            else team.annotate(paths, watcher, stop, fail_fast=options.fail_fast)
        )
        for report in reports:
            record.add(report)
            watcher.end(report)
    except BaseException:
        with suppress(InputError):
            record.write()
        raise
    record.finish()
    return record.reports


def _in_turn(
    paths: Sequence[str], pipeline: Pipeline, options: RunOptions, watcher: Watcher, stop: Stop
) -> Iterator[SourceReport]:
    """Annotate one source after the other, but pictures that follow each other side by side where a CPU does it.

    What fails fast must not have begun what comes next, and stdout takes one source after the other.
    """

    def annotate(path: str, progress: Progress) -> SourceReport:
        return annotate_source(path, pipeline, options, progress, stop)

    together = not (has_own_memory(pipeline.device) or options.fail_fast or options.to_stdout)
    for pictures, group in groupby(paths, is_picture):
        members = list(group)
        share = share_cores(pipeline.device, batches=len(members))
        if pictures and together and share.workers > 1:
            yield from annotate_pictures(members, annotate, watcher, stop, share)
            continue
        for path in members:
            if stop():
                return
            watcher.begin(path)
            report = annotate(path, watcher.frame)
            yield report
            if report.status == "interrupted" or (options.fail_fast and report.status == "failed"):
                return


class _RunRecord:
    """`run.json`: written again and again, so that a killed batch leaves a true one."""

    def __init__(self, paths: Sequence[str], pipeline: Pipeline, options: RunOptions, team: Team | None) -> None:
        self.reports: list[SourceReport] = []
        self._paths, self._path = paths, run_path(options)
        self._notes = pipeline.notes if team is None else team.notes
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

    def finish(self) -> None:
        """Write the file for the last time; if that cannot be, the last bad source's error says so, too."""
        try:
            self.write()
        except InputError as error:
            bad = [number for number, report in enumerate(self.reports) if report.error]
            if not bad:
                raise
            last = self.reports[bad[-1]]
            self.reports[bad[-1]] = replace(last, error=f"{last.error}; {error}")

    def write(self) -> None:
        """Write the file."""
        run = {
            **self._head,
            "notes": list(self._notes()),
            "seconds": round(time.monotonic() - self._started, 3),
            "sources": [report.as_dict() for report in self.reports],
            "not_started": [shown(path) for path in self._paths[len(self.reports) :]],
        }
        try:
            write_json_atomically(self._path, run)
        except OSError as error:
            raise InputError(f"{self._path}: cannot be written ({error.strerror})") from error
        self._written = time.monotonic()
