"""The options of `infer` that say how media are read."""

from __future__ import annotations

import re

import click

from posecli.cli._collect import collect
from posecli.config import ReadConfig


def time(text: str) -> float:
    """Read seconds, MM:SS or HH:MM:SS, each with a fraction if wanted."""
    parts = re.fullmatch(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?|\.\d+)", str(text).strip(), re.ASCII)
    if parts is None:
        raise click.BadParameter(f"{text!r} is no time; wanted seconds or HH:MM:SS, as in 90.5 or 00:01:30.5")
    hours, minutes, seconds = (float(part or 0) for part in parts.groups())
    return hours * 3600 + minutes * 60 + seconds


reading_options = collect(
    "reading",
    ReadConfig,
    click.option("--recursive", is_flag=True, help="Look for images in subfolders too."),
    click.option("--stream", type=click.IntRange(0), help="Which video stream of a file, from 0.  [default: the best]"),
    click.option(
        "--start",
        type=time,
        default=ReadConfig.start,
        show_default=True,
        help="Begin a video here: seconds after its first frame, or HH:MM:SS.",
    ),
    click.option("--end", type=time, help="Stop a video before this time."),
    click.option(
        "--stride",
        type=click.IntRange(1),
        default=ReadConfig.stride,
        show_default=True,
        help="Only every so many-th frame, or image of a folder.",
    ),
    click.option("--max-frames", type=click.IntRange(1), help="Most frames of a source."),
)
