"""What the frames of a video say together: entries of the journal, one after the other, tracked and smoothed."""

from __future__ import annotations

from posecli.config import TimelineConfig
from posecli.media.journal import Entry


class Timeline:
    """Call it with the entries of one source from the first one on."""

    def __init__(self, config: TimelineConfig) -> None:
        self._config = config

    def __call__(self, entry: Entry) -> Entry:
        """Return the entry with what the frames before it tell of its people."""
        return entry
