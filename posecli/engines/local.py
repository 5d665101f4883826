"""Many sources on one machine with one loaded pipeline: a thread reads ahead, a thread writes behind."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from posecli import __version__
from posecli.config import ReadConfig
from posecli.errors import DeviceError, InputError, PosecliError
from posecli.media.locations import shown
from posecli.media.sinks import CocoSink, Sink, overlay_sink
from posecli.media.sources import Source, open_source
from posecli.pipeline import Pipeline
from posecli.records import Annotated

_AHEAD = 8  # frames read but not annotated; memory stays flat whatever the source's length
_BEHIND = 16  # annotated frames that wait to be written

Item = TypeVar("Item")
Progress = Callable[[Annotated], None]


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How sources are read, and what is written where."""

    directory: Path
    overlay: bool = True
    explain: bool = False  # write and draw rejected proposals with their reasons
    keep_journal: bool = False
    reading: ReadConfig = field(default_factory=ReadConfig)


@dataclass(frozen=True, kw_only=True)
class SourceReport:
    """What became of one source; an entry of `run.json`."""

    source: str
    status: str  # "ok", "partial" (some frames failed) or "failed"
    error: str = ""  # one line that names the source; a partial one has it, too
    frames: int = 0
    frames_failed: int = 0
    header_frames: int | None = None
    people: int = 0
    refiner_runs: int = 0
    seconds: float = 0.0
    outputs: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()  # worth knowing of the source, and no fault

    def as_dict(self) -> dict[str, Any]:
        """Return the entry, with refiner runs per person worked out."""
        runs = round(self.refiner_runs / self.people, 3) if self.people else None
        return {**asdict(self), "refiner_runs_per_person": runs}


class _End:
    """The last thing in a queue: nothing more comes, because of `error` if there is one."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class Ahead(Generic[Item]):
    """Iterate something in a thread of its own, a bounded number of items ahead.

    An error of the iterated thing is raised where the items are taken. Leaving the context stops the thread.
    """

    def __init__(self, items: Iterable[Item], depth: int) -> None:
        self._items = items
        self._queue: queue.Queue[Item | _End] = queue.Queue(depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="posecli-read", daemon=True)

    def __enter__(self) -> Iterator[Item]:
        """Start reading."""
        self._thread.start()
        return self._take()

    def __exit__(self, *_: object) -> None:
        """Stop reading, whether or not everything was taken."""
        self._stop.set()
        while self._thread.is_alive():
            _drain(self._queue)
            self._thread.join(timeout=0.05)

    def _work(self) -> None:
        try:
            for item in self._items:
                if self._stop.is_set():
                    return
                self._queue.put(item)
        except BaseException as error:
            self._queue.put(_End(error))  # raised in the thread that takes the items
        else:
            self._queue.put(_End())

    def _take(self) -> Iterator[Item]:
        while not isinstance(item := self._queue.get(), _End):
            yield item
        if item.error is not None:
            raise item.error


class Behind:
    """Write annotated frames in a thread of its own; an error there is raised at the next `put` or `check`."""

    def __init__(self, sinks: Sequence[Sink], depth: int) -> None:
        self._sinks = sinks
        self._queue: queue.Queue[Annotated | _End] = queue.Queue(depth)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="posecli-write", daemon=True)

    def __enter__(self) -> Behind:
        """Start writing."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Write what is waiting, then stop."""
        self._queue.put(_End())
        self._thread.join()

    def put(self, annotated: Annotated) -> None:
        """Hand over one frame; blocks while too many wait."""
        self.check()
        self._queue.put(annotated)

    def check(self) -> None:
        """Raise what went wrong in the thread."""
        if self._error is not None:
            raise self._error

    def _work(self) -> None:
        while not isinstance(item := self._queue.get(), _End):
            if self._error is not None:
                continue  # keep taking, so that nobody blocks
            try:
                for sink in self._sinks:
                    sink.write(item)
            except BaseException as error:
                self._error = error


def _drain(waiting: queue.Queue[Any]) -> None:
    try:
        while True:
            waiting.get_nowait()
    except queue.Empty:
        return


@dataclass
class Tally:
    """Counts of a running source."""

    frames: int = 0
    frames_failed: int = 0
    people: int = 0
    refiner_runs: int = 0
    started: float = field(default_factory=time.monotonic)

    def add(self, annotated: Annotated) -> None:
        """Count one frame."""
        is_lost = annotated.frame.status == "decode_error"
        self.frames += not is_lost
        self.frames_failed += is_lost
        self.people += len(annotated.poses)
        self.refiner_runs += annotated.refiner_runs

    def counts(self) -> dict[str, Any]:
        """Return the counts, and the seconds until now, as a report has them."""
        seconds = round(time.monotonic() - self.started, 3)
        names = ("frames", "frames_failed", "people", "refiner_runs")
        return {**{name: getattr(self, name) for name in names}, "seconds": seconds}


def annotate_source(path: str, pipeline: Pipeline, options: RunOptions, progress: Progress) -> SourceReport:
    """Annotate one source and write its files.

    What the source or its output folder has wrong ends up in the report, so that the next source still gets its turn;
    interruption, bugs and a failing device are raised. The journal of the frames done stays in either case.
    """
    tally, name = Tally(), shown(path)
    try:
        with open_source(path, options.reading) as source:
            header_frames, outputs, notes = _annotate(source, pipeline, options, tally, progress)
            remarks = source.remarks()
    except DeviceError:
        raise  # the next source would meet the same
    except (PosecliError, OSError) as error:
        told = error if isinstance(error, PosecliError) else InputError(f"{name}: {_reason(path, error)}")
        return SourceReport(source=name, status="failed", error=str(told), **tally.counts())
    return SourceReport(
        source=name,
        status="partial" if notes else "ok",
        error=str(InputError(f"{name}: {'; '.join(notes)}")) if notes else "",
        header_frames=header_frames,
        outputs=tuple(str(output) for output in outputs),
        remarks=remarks,
        **tally.counts(),
    )


def _reason(path: str, error: OSError) -> str:
    other = f" ({error.filename})" if error.filename and str(error.filename) != path else ""
    return f"{error.strerror or error}{other}"


def _annotate(
    source: Source, pipeline: Pipeline, options: RunOptions, tally: Tally, progress: Progress
) -> tuple[int | None, list[Path], list[str]]:
    """Return how many frames the header promised, what was written, and what is wrong although it was."""
    sinks = _open_sinks(source, pipeline, options)
    try:
        with ExitStack() as stack:
            frames = stack.enter_context(Ahead(source, _AHEAD))
            writer = stack.enter_context(Behind(sinks, _BEHIND))
            for annotated in pipeline.run(frames):
                writer.put(annotated)
                tally.add(annotated)
                progress(annotated)
        writer.check()
        if not tally.frames:
            raise InputError(f"{source.path}: not one frame could be decoded")
        counts = {"decoded_frames": tally.frames, "header_frames": source.header_frames}
        outputs = [path for sink in sinks for path in sink.finish(counts)]
    except BaseException:
        for sink in sinks:
            sink.abort()
        raise
    return source.header_frames, outputs, _notes(source, tally)


def _notes(source: Source, tally: Tally) -> list[str]:
    """Say what a file's header promised and its frames did not keep: no error is raised by a truncated file."""
    notes = []
    if tally.frames_failed:
        notes.append(f"{tally.frames_failed} of {tally.frames + tally.frames_failed} frames could not be decoded")
    return [*notes, *source.notes()]


def _open_sinks(source: Source, pipeline: Pipeline, options: RunOptions) -> list[Sink]:
    options.directory.mkdir(parents=True, exist_ok=True)
    info = {
        "description": "Poses found by posecli",
        "version": __version__,
        "source": Path(source.name).name,
        "rotation": source.rotation,
        **pipeline.provenance(),
    }
    overlays = [overlay_sink(options.directory, source, explain=options.explain)] if options.overlay else []
    # Last, because it opens a file; written to first, because its journal has to know of every finished frame.
    coco = CocoSink(
        options.directory,
        source.stem,
        info,
        keep_journal=options.keep_journal,
        explain=options.explain,
        merge=pipeline.config.merge,
    )
    return [coco, *overlays]
