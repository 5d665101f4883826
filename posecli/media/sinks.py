"""Where annotated frames go: written as they come, finished by a rename, so that no half file bears a final name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Protocol

import cv2

from posecli.config import MergeConfig
from posecli.errors import InputError
from posecli.media.files import replacing
from posecli.media.images import IMAGE_SUFFIXES
from posecli.media.overlay import Drawer
from posecli.media.sources import Source, VideoSource
from posecli.media.video_overlay import VideoOverlay
from posecli.records import Annotated

_COLOUR_SUFFIXES = tuple(suffix for suffix in IMAGE_SUFFIXES if suffix not in {".pbm", ".pgm"})
# OpenCV's habit is WebP without loss: six times the time and four times the bytes of one that looks the same.
_SETTINGS = {".webp": (cv2.IMWRITE_WEBP_QUALITY, 90)}


class Sink(Protocol):
    """One kind of drawn output of one source. Frames come as they are finished, a resumed run's from the first on."""

    def write(self, annotated: Annotated) -> None:
        """Take the next frame, with its poses as they are written: tracked, smoothed and rounded."""

    def finish(self) -> list[Path]:
        """Make the final files, and say which."""

    def abort(self) -> None:
        """Leave no half file behind."""


class RecordSink(Protocol):
    """One kind of file of numbers of one source. It is made in one pass over the journal when the source is done."""

    suffixes: ClassVar[tuple[str, ...]]  # the files are STEM with each of these

    def __init__(self, directory: Path, stem: str, info: dict[str, Any], merge: MergeConfig) -> None:
        """Begin the files of one source.

        Args:
            directory: the output folder.
            stem: of the source.
            info: what a COCO dataset says of itself.
            merge: its thresholds of visibility.
        """

    def write(self, entry: dict[str, Any]) -> None:
        """Take the next frame as the journal has it (`coco.frame_entry`), tracked and smoothed."""

    def finish(self) -> list[Path]:
        """Put the files in place, and say which."""

    def abort(self) -> None:
        """Leave no half file behind."""


class PictureOverlay:
    """Drawn pictures: `STEM.overlay.SUFFIX` for one, a folder `STEM.overlay/` of the same names for several."""

    def __init__(self, directory: Path, source: Source, draw: Drawer) -> None:
        self._draw, self._single = draw, source.kind == "image"
        self._folder = directory if self._single else directory / f"{source.stem}.overlay"
        self._stem = source.stem
        self._output = self._folder

    def write(self, annotated: Annotated) -> None:
        """Draw and save one picture, in its source's format."""
        drawn = self._draw(annotated)
        if drawn is None:
            return
        name = Path(annotated.frame.file_name)
        if name.suffix.lower() not in _COLOUR_SUFFIXES:  # or an image by its content, whatever its name
            name = name.with_name(f"{name.name}.png")
        path = self._folder / (f"{self._stem}.overlay{name.suffix}" if self._single else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        settings = _SETTINGS.get(path.suffix.lower(), ())
        written, data = cv2.imencode(path.suffix, cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR), settings)
        if not written:
            size = f"{drawn.shape[1]}x{drawn.shape[0]} pixels"
            raise InputError(f"{path}: OpenCV cannot write {size} in this format; use --no-overlay")
        with replacing(path) as temporary:
            temporary.write_bytes(data.tobytes())
        self._output = path if self._single else self._folder

    def finish(self) -> list[Path]:
        """Name the picture, or the folder."""
        return [self._output]

    def abort(self) -> None:
        """Every picture written is whole; they stay."""


def overlay_sink(directory: Path, source: Source, draw: Drawer | None = None) -> Sink:
    """Return the overlay that suits a source: pictures for pictures, a video for a video."""
    draw = draw or Drawer()
    if isinstance(source, VideoSource):
        return VideoOverlay(directory, source, draw)
    return PictureOverlay(directory, source, draw)
