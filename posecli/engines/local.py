"""One source on one machine with a loaded pipeline: read ahead, annotate, write behind; go on where a run stopped."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from posecli import __version__
from posecli.config import RunOptions
from posecli.engines.crew import Crew
from posecli.engines.done import done_before, noted
from posecli.engines.identity import Identity
from posecli.engines.layout import journal_path, output_folder
from posecli.engines.output import Output, Progress
from posecli.engines.queues import Ahead, Behind, Stopped
from posecli.engines.replay import annotate_frames
from posecli.engines.reports import SourceReport, Tally
from posecli.engines.timeline import Timeline
from posecli.errors import DeviceError, InputError, PosecliError
from posecli.media.coco_sink import CocoSink
from posecli.media.files import part_path
from posecli.media.journal import Journal
from posecli.media.locations import output_stem, shown
from posecli.media.overlay import Drawer
from posecli.media.sinks import RecordSink, Sink, overlay_sink
from posecli.media.sources import Source, open_source
from posecli.media.tables import StdoutSink, table_sinks
from posecli.pipeline import Pipeline

# Memory stays flat whatever the source's length; a batch has room in either, so that a GPU waits for none of them.
_AHEAD = 8  # frames read but not annotated, or a batch if that is more
_BEHIND = 16  # annotated frames that wait to be written, or a batch

Stop = Callable[[], bool]


def annotate_source(
    path: str, pipeline: Pipeline, options: RunOptions, progress: Progress, stop: Stop = lambda: False
) -> SourceReport:
    """Annotate one source and write its files.

    What the source or its output folder has wrong ends up in the report, so that the next source still gets its turn;
    bugs and a failing device are raised. The journal of the frames done stays in either case, and after `stop`.

    Args:
        path: file or folder.
        pipeline: the networks.
        options: see there.
        progress: called with every finished frame, in a thread of its own.
        stop: asked after every batch of frames; once it is true, the source is left.
    """
    job = _Job(path, pipeline, options)
    try:
        if (done := done_before(path, job.identity, options)) is not None:
            return done
        return job.run(progress, stop)
    except Stopped:
        error = f"{job.name}: interrupted; {job.tally.total} frames are done, --resume goes on"
        return SourceReport(source=job.name, status="interrupted", error=error, **job.tally.counts())
    except (DeviceError, BrokenPipeError):
        raise  # the next source would meet the same
    except PosecliError as error:
        return SourceReport(source=job.name, status="failed", error=str(error), **job.tally.counts())
    except OSError as error:
        told = InputError(f"{job.name}: {_reason(path, error)}{_way_out(error, job.tally)}")
        return SourceReport(source=job.name, status="failed", error=str(told), **job.tally.counts())


def _reason(path: str, error: OSError) -> str:
    other = f" ({error.filename})" if error.filename and str(error.filename) != path else ""
    return f"{error.strerror or error}{other}"


def _way_out(error: OSError, tally: Tally) -> str:
    if error.errno not in {errno.ENOSPC, errno.EDQUOT} or not tally.total:
        return ""
    return f"; {tally.total} frames are done: make space, then go on with --resume"


class _Job:
    """One source on its way through the pipeline."""

    def __init__(self, path: str, pipeline: Pipeline, options: RunOptions) -> None:
        self.path, self.name, self.pipeline, self.options = path, shown(path), pipeline, options
        self.folder, self.stem = output_folder(path, options), output_stem(path)
        self.journal_path = journal_path(path, options)
        self.tally = Tally()
        self.identity = Identity(path, pipeline, options)

    def run(self, progress: Progress, stop: Stop) -> SourceReport:
        """Annotate the source."""
        with open_source(self.path, self.options.reading) as source:
            output = self._open_output(source, progress)
            self.tally = output.tally
            try:
                self._annotate(source, output, stop)
                notes, remarks = _notes(source, self.tally), source.remarks()
                paths = self._finish(source, output, notes)
            except BaseException:
                output.abort()
                raise
        return SourceReport(
            source=self.name,
            status="partial" if notes else "ok",
            error=noted(self.name, notes),
            header_frames=source.header_frames,
            outputs=tuple(map(str, paths)),
            remarks=remarks,
            **self.tally.counts(),
        )

    def _open_output(self, source: Source, progress: Progress) -> Output:
        options = self.options
        if options.resume and source.is_live and os.path.exists(self.journal_path):
            raise InputError(f"{self.name}: what was filmed does not come back; start over with --restart")
        self.folder.mkdir(parents=True, exist_ok=True)
        drawings: list[Sink] = [StdoutSink(self.name)] if options.to_stdout else []
        if options.overlay:
            min_score = self.pipeline.config.merge.min_labelled_score
            drawer = Drawer(config=options.drawing, min_score=min_score, explain=options.explain)
            drawings.append(overlay_sink(self.folder, source, drawer))
        header = {"input": self.identity.input, "settings": self.identity.settings, "info": self._info(source)}
        journal = Journal(self.journal_path, header, resume=options.resume)
        part_path(self.folder / f"{self.stem}.overlay.mp4").unlink(missing_ok=True)  # of a run that was killed
        return Output(journal, drawings, lambda: Timeline(options.timeline), options.explain, progress)

    def _info(self, source: Source) -> dict[str, Any]:
        return {
            "description": "Poses found by posecli",
            "version": __version__,
            "source": Path(source.name).name,
            "rotation": source.rotation,
            **self.pipeline.provenance(),
            "reading": asdict(self.options.reading),
            "timeline": asdict(self.options.timeline),
            "input": self.identity.input,
            "key": self.identity.key,
        }

    def _annotate(self, source: Source, output: Output, stop: Stop) -> None:
        batch = self.pipeline.config.batch_frames
        with ExitStack() as stack:
            crew = stack.enter_context(Crew(self.pipeline, frames=source.header_frames))
            reader = Ahead(source, max(_AHEAD, batch), stop)
            frames = stack.enter_context(reader)  # left before the crew, which may wait for it
            writer = stack.enter_context(Behind(output.write, max(_BEHIND, batch)))
            items = annotate_frames(frames, output.journal, crew.run, batch=batch)
            with suppress(Stopped) if source.is_live else nullcontext():  # stopping is how a camera ends
                for number, item in enumerate(items, start=1):
                    writer.put(item)
                    if number % batch == 0 and stop():
                        raise Stopped
        writer.check()
        self.tally.read_wait_s, self.tally.write_wait_s = reader.waited_s, writer.waited_s
        if not self.tally.frames:
            output.journal.discard()
            raise InputError(f"{source.name}: not one frame could be decoded")

    def _finish(self, source: Source, output: Output, notes: list[str]) -> list[Path]:
        options, tally = self.options, self.tally
        drawn = output.finish_drawings()
        names = [path.relative_to(self.folder).as_posix() for path in drawn]
        kinds: list[type[RecordSink]] = [] if options.to_stdout else [*table_sinks(options.formats), CocoSink]
        names += [f"{self.stem}{suffix}" for kind in kinds for suffix in kind.suffixes]
        counts = {
            "decoded_frames": tally.frames,
            "lost_frames": tally.frames_failed,
            "header_frames": source.header_frames,
            "people": tally.people,
            "refiner_runs": tally.refiner_runs,
        }
        drawing = asdict(options.drawing) if options.overlay else None
        info = {**self._info(source), **counts, "notes": notes, "drawing": drawing, "outputs": names}
        written = output.finish_records(
            [kind(self.folder, self.stem, info, self.pipeline.config.merge) for kind in kinds]
        )
        if options.keep_journal:
            output.journal.end(counts)
            output.journal.close()
        else:
            output.journal.discard()
        return [*drawn, *written]


def _notes(source: Source, tally: Tally) -> list[str]:
    """Say what a file's header promised and its frames did not keep: no error is raised by a truncated file."""
    notes = []
    if tally.frames_failed:
        notes.append(f"{tally.frames_failed} of {tally.total} frames could not be decoded")
    return [*notes, *source.notes()]
