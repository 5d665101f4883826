"""All that is written for one source: a journal and drawings while it runs, the files of numbers when it is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from posecli.engines.replay import Replayed
from posecli.engines.reports import Tally
from posecli.engines.timeline import Timeline
from posecli.media.coco import entry_annotated, frame_entry
from posecli.media.journal import Entry, Journal
from posecli.media.sinks import RecordSink, Sink
from posecli.records import Annotated

Progress = Callable[[Entry, bool], None]  # a frame's entry, and whether it is new or an interrupted run's


@dataclass
class Output:
    """The journal and the sinks of one source.

    Drawings show what the files of numbers say: both are made from the journal's rounded entries by the same steps, so
    that a resumed run's cannot differ from an uninterrupted one's.
    """

    journal: Journal
    drawings: Sequence[Sink]
    new_timeline: Callable[[], Timeline]
    explain: bool
    progress: Progress

    def __post_init__(self) -> None:
        """Start counting."""
        self.tally = Tally()
        self._timeline = self.new_timeline()

    def write(self, item: Annotated | Replayed) -> None:
        """Take the next frame."""
        is_new = isinstance(item, Annotated)
        entry = frame_entry(item, explain=self.explain) if isinstance(item, Annotated) else item.entry
        if is_new:
            self.journal.append(entry)
        if self.drawings:
            annotated = entry_annotated(self._timeline(entry), item.frame)
            for sink in self.drawings:
                sink.write(annotated)
        self.tally.add(entry, is_new=is_new)
        self.progress(entry, is_new)

    def finish_drawings(self) -> list[Path]:
        """Put the drawings in place."""
        return [path for sink in self.drawings for path in sink.finish()]

    def finish_records(self, sinks: Sequence[RecordSink]) -> list[Path]:
        """Make the files of numbers in one pass over the journal: memory does not grow with the source."""
        timeline = self.new_timeline()
        try:
            for entry in self.journal.entries():
                final = timeline(entry)
                for sink in sinks:
                    sink.write(final)
            return [path for sink in sinks for path in sink.finish()]
        except BaseException:
            for sink in sinks:
                sink.abort()
            raise

    def abort(self) -> None:
        """Leave nothing but the journal, if a frame is in it."""
        for sink in self.drawings:
            sink.abort()
        if self.journal.finished:
            self.journal.close()
        else:
            self.journal.discard()
