"""What became of each source, and of a whole run: the entries of `run.json`."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

from posecli.media.journal import Entry


@dataclass(frozen=True, kw_only=True)
class SourceReport:
    """What became of one source; an entry of `run.json`."""

    source: str
    status: str  # "ok", "partial" (some frames failed), "failed" or "interrupted"
    error: str = ""  # one line that names the source; a partial one has it, too
    skipped: bool = False  # its files were there already, made by an earlier run of the same input and settings
    frames: int = 0
    frames_failed: int = 0
    frames_resumed: int = 0  # of both, those that an interrupted run had finished
    header_frames: int | None = None
    people: int = 0
    refiner_runs: int = 0
    seconds: float = 0.0
    read_wait_s: float = 0.0  # that the networks waited for frames; much of it: reading is the bottleneck
    write_wait_s: float = 0.0  # that annotated frames waited for the writer
    outputs: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()  # worth knowing of the source, and no fault

    def as_dict(self) -> dict[str, Any]:
        """Return the entry, with refiner runs per person worked out."""
        runs = round(self.refiner_runs / self.people, 3) if self.people else None
        return {**asdict(self), "refiner_runs_per_person": runs}


@dataclass
class Tally:
    """Counts of a running source."""

    frames: int = 0
    frames_failed: int = 0
    frames_resumed: int = 0
    people: int = 0
    refiner_runs: int = 0
    read_wait_s: float = 0.0
    write_wait_s: float = 0.0
    started: float = field(default_factory=time.monotonic)

    def add(self, entry: Entry, *, is_new: bool) -> None:
        """Count one frame."""
        is_lost = entry["status"] == "decode_error"
        self.frames += not is_lost
        self.frames_failed += is_lost
        self.frames_resumed += not is_new
        self.people += len(entry["people"])
        self.refiner_runs += entry["refiner_runs"]

    @property
    def total(self) -> int:
        """Frames that are done, whatever became of them."""
        return self.frames + self.frames_failed

    def counts(self) -> dict[str, Any]:
        """Return the counts, and the seconds until now, as a report has them."""
        names = ("frames", "frames_failed", "frames_resumed", "people", "refiner_runs")
        counts = {name: getattr(self, name) for name in names}
        times = {
            "seconds": time.monotonic() - self.started,
            "read_wait_s": self.read_wait_s,
            "write_wait_s": self.write_wait_s,
        }
        return {**counts, **{name: round(value, 3) for name, value in times.items()}}
