"""Who is told how far a run is."""

from __future__ import annotations

from typing import Protocol

from posecli.engines.reports import SourceReport
from posecli.media.journal import Entry


class Watcher(Protocol):
    """Somebody who wants to know how far things are."""

    def begin(self, path: str) -> None:
        """A source is next."""

    def frame(self, entry: Entry, is_new: bool) -> None:
        """A frame is finished; called in another thread. One of an interrupted run is not new."""

    def end(self, report: SourceReport) -> None:
        """A source is done, whatever became of it."""
