"""`posecli infer`: annotate the people in images, folders and videos."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from posecli.cli._media_options import reading_options
from posecli.cli._options import pipeline_options
from posecli.config import PipelineConfig, ReadConfig
from posecli.errors import ConfigError, InputError, PartialError

if TYPE_CHECKING:
    from posecli.engines.local import RunOptions, SourceReport
    from posecli.pipeline import Pipeline
    from posecli.records import Annotated

_TERMINATED = 143  # 128 + SIGTERM


@click.command()
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), default=Path("poses"), show_default=True, help="Output folder."
)
@click.option("--overlay/--no-overlay", default=True, help="Draw the skeletons.  [default: overlay]")
@click.option("--explain", is_flag=True, help="Write and draw dropped proposals with the reason.")
@click.option("--keep-journal", is_flag=True, help="Keep STEM.jsonl, one line a frame.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON a source on stdout.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar, no summary.")
@reading_options
# A pose scores less than its box, so boxes much below .25 hardly ever pass --min-score and only cost refiner runs.
@pipeline_options(min_score=0.15, min_box_score=0.25)
def infer(
    sources: tuple[str, ...],
    out: Path,
    overlay: bool,
    explain: bool,
    keep_journal: bool,
    as_json: bool,
    quiet: bool,
    reading: ReadConfig,
    config: PipelineConfig,
    loading: dict[str, Any],
) -> None:
    """Annotate the people in SOURCEs: images, folders, videos, globs, @list.txt, or - for paths on stdin."""
    from posecli.engines.local import RunOptions
    from posecli.media.sources import expand_sources
    from posecli.pipeline import load_pipeline

    paths = expand_sources(sources, recursive=reading.recursive)
    _check_outputs(paths, out)
    options = RunOptions(directory=out, overlay=overlay, explain=explain, keep_journal=keep_journal, reading=reading)
    with _sigterm_exits():
        pipeline = load_pipeline(config, **loading)
        reports = _annotate_all(paths, pipeline, options, as_json=as_json, quiet=quiet)
    _judge(reports)


def _check_outputs(paths: list[str], out: Path) -> None:
    """Refuse, before work starts, what could not be written.

    Raises:
        ConfigError: two sources would write the same files, or the output folder cannot be one.
    """
    from posecli.media.sources import output_stem

    stems: dict[str, str] = {}
    for path in paths:
        stem = output_stem(path)
        if stem in stems:
            raise ConfigError(f"{path}: writes the same files as {stems[stem]}; give them output folders of their own")
        stems[stem] = path
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{out}: cannot be the output folder ({error.strerror}); choose another -o") from None


@contextmanager
def _sigterm_exits() -> Iterator[None]:
    """Turn SIGTERM into an exit with 143 that still runs every clean-up."""

    def leave(*_: object) -> None:
        raise SystemExit(_TERMINATED)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _annotate_all(
    paths: list[str], pipeline: Pipeline, options: RunOptions, *, as_json: bool, quiet: bool
) -> list[SourceReport]:
    from posecli.cli._progress import progress_bar
    from posecli.engines.local import annotate_source
    from posecli.media.journal import compact
    from posecli.media.sources import count_frames

    reports: list[SourceReport] = []
    started = time.monotonic()
    total = sum(count_frames(path, options.reading) or 0 for path in paths) or None
    people = 0
    with progress_bar("frames", total=total, quiet=quiet) as bar:

        def progress(annotated: Annotated) -> None:
            nonlocal people
            people += len(annotated.poses)
            bar(1, f"{people} people")

        for path in paths:
            report = annotate_source(path, pipeline, options, progress)
            reports.append(report)
            _write_run(reports, pipeline, options.directory, time.monotonic() - started)
            if as_json:
                click.echo(compact(report.as_dict()))
            if report.error and len(paths) > 1:  # a lone source's is how the command ends
                bar.tell(report.error)
    if not quiet and any(report.frames for report in reports):
        click.echo(_summary(reports, options.directory), err=True)
    return reports


def _write_run(reports: list[SourceReport], pipeline: Pipeline, directory: Path, seconds: float) -> None:
    """Write run.json after every source, so that a killed batch leaves a true one."""
    from posecli import __version__
    from posecli.media.sinks import write_json_atomically

    run: dict[str, Any] = {
        "posecli": __version__,
        **pipeline.provenance(),
        "seconds": round(seconds, 3),
        "sources": [report.as_dict() for report in reports],
    }
    try:
        write_json_atomically(directory / "run.json", run)
    except OSError as error:
        raise InputError(f"{directory / 'run.json'}: cannot be written ({error.strerror})") from error


def _summary(reports: list[SourceReport], directory: Path) -> str:
    frames, people = sum(r.frames for r in reports), sum(r.people for r in reports)
    runs, seconds = sum(r.refiner_runs for r in reports), sum(r.seconds for r in reports)
    per_person = f", {runs / people:.2f} refiner runs per person" if people else ""
    speed = f", {frames / seconds:.1f} frames/s" if seconds else ""
    return f"{frames} frames, {people} people{per_person}{speed}: {directory}"


def _judge(reports: list[SourceReport]) -> None:
    """Turn what became of the sources into the exit code.

    Raises:
        InputError: nothing could be annotated.
        PartialError: some source or frame failed.
    """
    bad = [report for report in reports if report.status != "ok"]
    failed = [report for report in bad if report.status == "failed"]
    if not bad:
        return
    message = f"{len(failed)} of {len(reports)} sources failed, {len(bad) - len(failed)} are incomplete; see run.json"
    kind = InputError if len(failed) == len(reports) else PartialError
    raise kind(reports[0].error if len(reports) == 1 else message)
