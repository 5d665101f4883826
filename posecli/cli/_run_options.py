"""The options of `infer` that say what is written where, which sources are left out, and what comes after the poses."""

from __future__ import annotations

from pathlib import Path

import click

from posecli.cli._collect import collect
from posecli.config import RunOptions, TimelineConfig


def _shard(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    index, _, count = value.partition("/")
    if not (index.isdecimal() and count.isdecimal()):
        raise click.BadParameter(f"{value!r} is not I/N, as in 1/4")
    return int(index), int(count)  # RunOptions checks them


def _formats(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    names = dict.fromkeys(part.strip() for value in values for part in value.split(",") if part.strip())
    return tuple(name for name in names if name != "coco")  # those are always written


run_options = collect(
    "options",
    RunOptions,
    click.option(
        "-o",
        "--out",
        "directory",
        type=click.Path(path_type=Path),
        default=RunOptions.directory,
        show_default=True,
        help="Output folder; - writes no files, but a line of JSON a frame to stdout.",
    ),
    click.option(
        "--format",
        "formats",
        multiple=True,
        callback=_formats,
        metavar="NAMES",
        help="Also write jsonl, csv or parquet; several with commas between. COCO files are always there.",
    ),
    click.option("--keep-tree", is_flag=True, help="Keep the sources' folders below the output folder."),
    click.option("--overlay/--no-overlay", default=True, help="Draw the skeletons.  [default: overlay]"),
    click.option("--explain", is_flag=True, help="Write and draw dropped proposals with the reason."),
    click.option("--keep-journal", is_flag=True, help="Keep STEM.jsonl, one line a frame."),
    click.option("--resume", is_flag=True, help="Go on where an interrupted run stopped; leave what is done."),
    click.option("--restart", is_flag=True, help="Start over, whatever an interrupted run has left."),
    click.option("--skip-done", is_flag=True, help="Leave sources that are done with the same content and options."),
    click.option("--fail-fast", is_flag=True, help="Stop at the first source that fails."),
    click.option(
        "--shard", metavar="I/N", callback=_shard, help="Only the I-th of N parts of the sources, split by their paths."
    ),
)

timeline_options = collect(
    "timeline",
    TimelineConfig,
    click.option("--track", is_flag=True, help="Number the people of a video: track_id."),
    click.option("--smooth", is_flag=True, help="Take the jitter out of a video's keypoints; implies --track."),
    click.option(
        "--max-gap",
        type=click.FloatRange(0, min_open=True),
        default=TimelineConfig.max_gap,
        show_default=True,
        help="Seconds out of sight that a person keeps the number.",
    ),
)
