"""`posecli infer`: annotate the people in images, folders and videos."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from posecli.cli._media_options import drawing_options, reading_options
from posecli.cli._options import annotating_options
from posecli.cli._run_options import run_options, timeline_options
from posecli.config import OverlayConfig, PipelineConfig, ReadConfig, RunOptions, TimelineConfig
from posecli.errors import ConfigError, InputError, PartialError

if TYPE_CHECKING:
    from posecli.engines.messages import Order
    from posecli.engines.reports import SourceReport


@click.command()
@click.argument("sources", metavar="SOURCE...", nargs=-1, required=True)
@run_options
@click.option("--json", "as_json", is_flag=True, help="One line of JSON a source on stdout.")
@click.option(
    "--progress",
    type=click.Choice(["bar", "none", "json"]),
    default="bar",
    show_default=True,
    help="Bars on a terminal, nothing, or JSON lines, on stderr.",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress, no summary.")
@click.option(
    "--workers",
    type=click.IntRange(1),
    help="Processes that annotate sources at once.  [default: one a device of --device]",
)
@timeline_options
@reading_options
@drawing_options
@annotating_options
def infer(
    sources: tuple[str, ...],
    options: RunOptions,
    as_json: bool,
    progress: str,
    quiet: bool,
    workers: int | None,
    timeline: TimelineConfig,
    reading: ReadConfig,
    drawing: OverlayConfig,
    config: PipelineConfig,
    loading: dict[str, Any],
) -> None:
    """Annotate the people in SOURCEs: images, folders, videos, globs, @list.txt, or - for paths on stdin."""
    from posecli.cli._signals import StopSignals
    from posecli.cli._watchers import watching
    from posecli.engines.batch import annotate_all
    from posecli.engines.layout import plan
    from posecli.engines.team import Team
    from posecli.media.encoders import find_encoder
    from posecli.media.sources import expand_sources
    from posecli.media.tables import check_formats
    from posecli.pipeline import load_pipeline
    from posecli.runtime import worker_devices

    options = _to_stdout(replace(options, reading=reading, timeline=timeline), as_json=as_json)
    check_formats(options.formats)
    if options.overlay:
        find_encoder(drawing.overlay_codec)
    paths = plan(expand_sources(sources, recursive=reading.recursive), options)
    devices = worker_devices(loading["device"], workers, sources=len(paths))
    alone = len(devices) == 1
    here = devices[0] if alone else devices[0].partition(",")[0]  # with a team, this one only stands for its own
    pipeline = load_pipeline(config, **{**loading, "device": here})
    if pipeline.boxes is not None and len(paths) > 1 and not pipeline.boxes.names_files:
        raise ConfigError(
            f"{pipeline.boxes.path}: names pictures by numbers, which say nothing about {len(paths)} sources; give one "
            "source, or a file_name in each entry"
        )
    options = replace(options, drawing=replace(drawing, caption=pipeline.warning))
    kind = "none" if quiet else progress
    with ExitStack() as stack:
        stop = stack.enter_context(StopSignals())
        team = None if alone else stack.enter_context(Team(_orders(devices, config, options, loading)))
        watcher = stack.enter_context(watching(kind, len(paths), reading, as_json=as_json))
        started = time.monotonic()
        reports = annotate_all(paths, pipeline, options, watcher, stop, team=team)
        seconds = time.monotonic() - started
    if stop() and (len(reports) < len(paths) or reports[-1].status == "interrupted"):
        click.echo(_interruption(reports, len(paths), options), err=True)
        click.get_current_context().exit(stop.exit_code)
    if kind != "json" and not quiet and any(report.frames for report in reports):
        for line in (_summary(reports, seconds, options.directory), *(team or pipeline).notes()):
            click.echo(line, err=True)
    _judge(reports, options)


def _orders(devices: list[str], config: PipelineConfig, options: RunOptions, loading: dict[str, Any]) -> list[Order]:
    """Say what each of several worker processes has to know."""
    from posecli.engines.messages import Order
    from posecli.runtime import cores_each

    if options.to_stdout:
        raise ConfigError("-o - writes one source after the other; leave out --workers, and name one --device")
    cores = cores_each(len(devices))
    given = {name: loading[name] for name in ("weights", "allow_random")}
    return [Order(config=config, options=options, device=device, cores=cores, **given) for device in devices]


def _to_stdout(options: RunOptions, *, as_json: bool) -> RunOptions:
    """Return what `-o -` means: no files but a journal, which is gone in the end."""
    if str(options.directory) != "-":
        return options
    if as_json:
        raise ConfigError("-o - has stdout for the frames; leave out --json")
    folder = click.get_current_context().with_resource(TemporaryDirectory(prefix="posecli-"))
    return replace(options, directory=Path(folder), overlay=False, to_stdout=True)


def _interruption(reports: list[SourceReport], num_sources: int, options: RunOptions) -> str:
    """Say in one line where the work is that is done."""
    from posecli.engines.layout import journal_path

    last = reports[-1] if reports else None
    if last is not None and last.status == "interrupted" and last.frames + last.frames_failed:
        frames = last.frames + last.frames_failed
        return f"interrupted: {frames} frames are in {journal_path(last.source, options)}; --resume goes on"
    done = sum(report.status != "interrupted" for report in reports)
    return f"interrupted: {done} of {num_sources} sources are done; --resume goes on"


def _summary(reports: list[SourceReport], seconds: float, directory: Path) -> str:
    """Return what became of all sources, which took so many seconds together, several at once perhaps."""
    frames, people = sum(r.frames for r in reports), sum(r.people for r in reports)
    runs = sum(r.refiner_runs for r in reports)
    new = frames - sum(r.frames if r.skipped else r.frames_resumed for r in reports)
    per_person = f", {runs / people:.2f} refiner runs per person" if people else ""
    speed = f", {new / seconds:.1f} frames/s" if new > 0 else ""
    skipped = sum(report.skipped for report in reports)
    left = f", {skipped} of {len(reports)} sources were done before" if skipped else ""
    return f"{frames} frames, {people} people{per_person}{speed}{left}: {directory}"


def _judge(reports: list[SourceReport], options: RunOptions) -> None:
    """Turn what became of the sources into the exit code.

    Raises:
        InputError: nothing could be annotated.
        PartialError: some source or frame failed.
    """
    from posecli.engines.layout import run_path

    bad = [report for report in reports if report.status != "ok"]
    failed = [report for report in bad if report.status == "failed"]
    if not bad:
        return
    counts = f"{len(failed)} of {len(reports)} sources failed, {len(bad) - len(failed)} are incomplete"
    message = f"{counts}; see {run_path(options).name}"
    kind = InputError if len(failed) == len(reports) else PartialError
    raise kind(reports[0].error if len(reports) == 1 else message)
