"""The options that say how media are read, and how people are drawn."""

from __future__ import annotations

import re

import click

from posecli.cli._collect import collect
from posecli.config import OVERLAY_BACKGROUNDS, OVERLAY_LABELS, OverlayConfig, ReadConfig


def time(text: str) -> float:
    """Read seconds, MM:SS or HH:MM:SS, each with a fraction if wanted."""
    parts = re.fullmatch(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d*)?|\.\d+)", str(text).strip(), re.ASCII)
    if parts is None:
        raise click.BadParameter(f"{text!r} is no time; wanted seconds or HH:MM:SS, as in 90.5 or 00:01:30.5")
    hours, minutes, seconds = (float(part or 0) for part in parts.groups())
    return hours * 3600 + minutes * 60 + seconds


def labels(text: str) -> tuple[str, ...]:
    """Read names parted by commas; `none` is none."""
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if unknown := [name for name in names if name not in (*OVERLAY_LABELS, "none")]:
        raise click.BadParameter(f"{unknown[0]!r} is no label; wanted none, or some of {', '.join(OVERLAY_LABELS)}")
    return tuple(name for name in names if name != "none")


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
    click.option(
        "--hwaccel",
        default=ReadConfig.hwaccel,
        metavar="NAME",
        help="Decode videos on hardware, by FFmpeg's name: cuda, vaapi, videotoolbox...; on the CPU where it cannot.",
    ),
)

drawing_options = collect(
    "drawing",
    OverlayConfig,
    click.option(
        "--overlay-codec",
        default=OverlayConfig.overlay_codec,
        show_default=True,
        help="Of drawn videos: h264, hevc, vp9, av1, mjpeg, mpeg4, or an encoder's FFmpeg name.",
    ),
    click.option(
        "--background",
        type=click.Choice(OVERLAY_BACKGROUNDS),
        default=OverlayConfig.background,
        show_default=True,
        help="What people are drawn on.",
    ),
    click.option(
        "--blur-faces",
        is_flag=True,
        help="Hide the heads of all people found, sure or not. Nobody can hide whom no network finds.",
    ),
    click.option(
        "--thickness", type=click.FloatRange(0, min_open=True), help="Line width, pixels.  [default: by size]"
    ),
    click.option(
        "--labels",
        type=labels,
        default="none",
        show_default=True,
        help="Write id, score or names beside people; several with commas between.",
    ),
)
