"""What a run and its worker processes tell each other. Nothing here loads torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from posecli.config import PipelineConfig, RunOptions
from posecli.engines.reports import SourceReport
from posecli.errors import PosecliError
from posecli.media.journal import Entry


@dataclass(frozen=True)
class Order:
    """What a worker has to know before its first source."""

    config: PipelineConfig
    options: RunOptions
    device: str
    cores: int  # of the CPU
    weights: dict[str, Path]
    allow_random: bool


@dataclass(frozen=True)
class FrameDone:
    """A frame is finished."""

    people: int
    is_new: bool


@dataclass(frozen=True)
class SourceDone:
    """A source is, whatever became of it."""

    report: SourceReport
    notes: tuple[str, ...]  # of the worker's pipeline, until now


@dataclass(frozen=True)
class Broken:
    """The worker cannot go on."""

    error: PosecliError | None  # what a user can mend; None for a bug
    trace: str = ""


Message = FrameDone | SourceDone | Broken


def entry_of(message: FrameDone) -> Entry:
    """Return as much of a frame's entry as those who watch a run look at."""
    return {"people": [None] * message.people}
