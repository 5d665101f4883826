"""Drawing people on a source again from a COCO file, without any network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

from posecli.config import OverlayConfig, ReadConfig
from posecli.errors import ConfigError, InputError
from posecli.media.overlay import Drawer
from posecli.media.pose_file import PoseFile
from posecli.media.sinks import overlay_sink
from posecli.media.sources import VideoSource, open_source
from posecli.records import Annotated


def redraw(
    path: str, poses: PoseFile, directory: Path, config: OverlayConfig, progress: Callable[[Annotated], None]
) -> list[Path]:
    """Draw the file's people on the source's frames, read as they were read when the file was made.

    Args:
        path: the video, image or folder.
        poses: its people.
        directory: where the drawing goes.
        config: how to draw.
        progress: called with every frame drawn.

    Returns:
        What was written.

    Raises:
        InputError: source or file cannot be used, or do not belong together; nothing is written then, but for a
            folder's pictures up to there.
    """
    caption = _caption(poses)
    draw = Drawer(config=replace(config, caption=caption), min_score=0, explain=True)
    with open_source(path, file_reading(poses)) as source:
        sink = overlay_sink(directory, source, draw)
        try:
            for frame in source:
                annotated = poses(frame)
                if annotated is None and isinstance(source, VideoSource):
                    raise InputError(f"{poses.path}: has no frame {frame.index} of {source.name}; it is about another")
                if annotated is not None:
                    sink.write(annotated)
                    progress(annotated)
            poses.check_all_met()
            return sink.finish()
        except BaseException:
            sink.abort()
            raise


def file_reading(poses: PoseFile) -> ReadConfig:
    """Return how the source of a file was read, but for the hardware; wholly, if it does not say.

    Raises:
        InputError: what it says cannot be.
    """
    said = poses.info.get("reading", {})
    names = {item.name for item in fields(ReadConfig)}
    if not isinstance(said, dict) or not said.keys() <= names:
        raise InputError(f"{poses.path}: info.reading is not what posecli writes; leave it out")
    kinds = (bool, int, float, type(None))
    try:
        if not all(isinstance(value, kinds) for name, value in said.items() if name != "hwaccel"):
            raise TypeError
        return ReadConfig(**{name: value for name, value in said.items() if name != "hwaccel"})
    except (ConfigError, TypeError) as error:
        raise InputError(f"{poses.path}: info.reading cannot be used ({error or 'wrong types'})") from None


def _caption(poses: PoseFile) -> str:
    """Return the warning that `infer` drew on every frame, if it did."""
    drawing = poses.info.get("drawing")
    caption = drawing.get("caption") if isinstance(drawing, dict) else None
    return caption[:200] if isinstance(caption, str) else ""
