"""`posecli render`: draw saved people, without any network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from posecli.cli._media_options import drawing_options
from posecli.config import OverlayConfig
from posecli.errors import ConfigError

if TYPE_CHECKING:
    from posecli.records import Annotated


@click.command()
@click.argument("source")
@click.argument("poses", metavar="STEM.coco.json", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Output folder.  [default: that of the JSON]")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar, no summary.")
@drawing_options
def render(source: str, poses: Path, out: Path | None, quiet: bool, drawing: OverlayConfig) -> None:
    """Draw the people of STEM.coco.json on SOURCE, the image, folder or video that they were found in.

    Frames are found by their place and time stamp, images by their names. The result is STEM.overlay.mp4, as
    `posecli infer` draws it, or pictures.
    """
    from posecli.cli._progress import progress_bar
    from posecli.engines.redraw import file_reading, redraw
    from posecli.media.encoders import find_encoder
    from posecli.media.pose_file import PoseFile
    from posecli.media.sources import count_frames

    find_encoder(drawing.overlay_codec)
    file = PoseFile(poses)
    directory = poses.parent if out is None else out
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{directory}: cannot be the output folder ({error.strerror}); choose another -o") from None
    frames = people = 0
    with progress_bar("frames", total=count_frames(source, file_reading(file)), quiet=quiet) as bar:

        def progress(annotated: Annotated) -> None:
            nonlocal frames, people
            frames, people = frames + 1, people + len(annotated.poses)
            bar(1, f"{people} people")

        written = redraw(source, file, directory, drawing, progress)
    if not quiet:
        click.echo(f"{frames} frames, {people} people: {', '.join(map(str, written))}", err=True)
