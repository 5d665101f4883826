"""What the frames of a video say together: entries of the journal, one after the other, tracked and smoothed."""

from __future__ import annotations

from posecli.config import TimelineConfig
from posecli.media.coco import people_entries, people_poses
from posecli.media.journal import Entry
from posecli.stages.smooth import Smoother
from posecli.stages.track import Tracker


class Timeline:
    """Call it with the entries of one source from the first one on.

    It works on the journal's rounded numbers and looks back only: whoever calls it with the same entries, while they
    are found, after a crash, or when the files are made, gets the same.
    """

    def __init__(self, config: TimelineConfig) -> None:
        self._tracker = Tracker(max_gap=config.max_gap) if config.tracks else None
        self._smoother = Smoother(max_gap=config.max_gap) if config.smooth else None

    def __call__(self, entry: Entry) -> Entry:
        """Return the entry with what those before it tell of its people. Pictures have no time and stay as they are."""
        if self._tracker is None or entry["time"] is None:
            return entry
        poses = self._tracker(people_poses(entry["people"]), entry["time"])
        if self._smoother is not None:
            poses = self._smoother(poses, entry["time"])
        return {**entry, "people": people_entries(poses)}
