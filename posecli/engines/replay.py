"""Frames of a resumed run: those that are finished from the journal, the others from the networks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from posecli.errors import InputError
from posecli.media.journal import Entry, Journal
from posecli.records import Annotated, Frame


@dataclass(frozen=True, slots=True)
class Replayed:
    """A frame that an interrupted run had finished."""

    frame: Frame
    entry: Entry  # from the journal


def annotate_frames(
    frames: Iterator[Frame], journal: Journal, annotate: Callable[[Iterator[Frame]], Iterator[Annotated]], *, batch: int
) -> Iterator[Annotated | Replayed]:
    """Yield the frames: first those of an interrupted run, from the journal, then new ones, from the networks.

    Networks go on at the start of the batch in which the run was interrupted. So each frame shares its batch with the
    same others as in an uninterrupted run, and comes out the same to the last bit; what was finished of that batch is
    taken from the journal all the same.

    Args:
        frames: of the source, from the first one on.
        journal: of the interrupted run; empty if there was none.
        annotate: the networks, as `Pipeline.run`.
        batch: frames that share one.
    """
    finished, old = journal.finished, journal.entries()
    for frame, entry in zip(islice(frames, finished - finished % batch), old, strict=False):
        yield _replayed(frame, entry, journal)
    for annotated in annotate(frames):
        known = next(old, None)
        yield annotated if known is None else _replayed(annotated.frame, known, journal)
    if any(True for _ in old):
        raise InputError(f"{journal.path}: has more frames than the source; start over with --restart")


def _replayed(frame: Frame, entry: Entry, journal: Journal) -> Replayed:
    if (entry["frame_index"], entry["pts"]) != (frame.index, frame.pts):
        raise InputError(
            f"{journal.path}: frame {frame.index} of the source is not what the journal says; start over with --restart"
        )
    return Replayed(frame, entry)
