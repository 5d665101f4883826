"""What posecli reads: an image, a folder of images, a video, a stream or a camera, told apart by content."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from posecli.config import ReadConfig
from posecli.errors import InputError, PosecliError
from posecli.media.animation import AnimationReader
from posecli.media.arguments import expand_sources, images_in
from posecli.media.camera import CameraReader
from posecli.media.headers import Header, read_header
from posecli.media.images import IMAGE_SUFFIXES, read_image
from posecli.media.locations import camera_number, is_live, is_url, output_stem, shown
from posecli.media.selection import expected
from posecli.media.video import VideoReader, count_video_frames
from posecli.records import Frame

__all__ = ["Source", "VideoSource", "count_frames", "expand_sources", "open_source", "output_stem", "read_image"]

if TYPE_CHECKING:
    from typing_extensions import Self

_HEAD_BYTES = 4096  # enough to know an image by
_WHOLE_VIDEO = ReadConfig()


class Source:
    """Frames from one place, upright and in order. An iterator and a context manager; frames come once."""

    frame_rate: Fraction | None = None  # mean frames per second of a video
    time_base: Fraction | None = None  # seconds per unit of `Frame.pts`
    rotation: int = 0  # degrees clockwise that a video's stored pictures were turned by; images follow their own EXIF

    def __init__(self, path: Path | str, kind: str, frames: Iterator[Frame], num_images: int = 0) -> None:
        self.path = path  # or a URL
        self.name = shown(path)  # for messages and files: without a URL's password
        self.stem = output_stem(path)  # outputs are named after it
        self.kind = kind  # "image", "folder" or "video"
        self.is_live = is_live(path)  # it ends when it is stopped
        self._frames = frames
        self._num_images = num_images

    @property
    def header_frames(self) -> int | None:
        """Frames in the source: those that a video's header promises, if it says, or a folder's images."""
        return self._num_images

    def notes(self) -> tuple[str, ...]:
        """Say, after the last frame, what was wrong with the file although it could be read."""
        return ()

    def remarks(self) -> tuple[str, ...]:
        """Say, after the last frame, what is worth knowing of the source and is no fault."""
        return ()

    def close(self) -> None:
        """Close the file."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        return next(self._frames)


class Reader(Protocol):
    """What decodes a video: `VideoReader`, `AnimationReader` or `CameraReader`."""

    frame_rate: Fraction | None
    time_base: Fraction
    pixel_aspect: Fraction | None
    rotation: int
    has_companions: bool  # sound or subtitles

    @property
    def header_frames(self) -> int | None:
        """Frames that the header promises; None where it does not say."""

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames; works once."""

    def notes(self) -> tuple[str, ...]:
        """Say what is wrong with the source."""

    def remarks(self) -> tuple[str, ...]:
        """Say what is worth knowing of it."""

    def close(self) -> None:
        """Close it."""


class VideoSource(Source):
    """A video, a stream, an animation or a camera."""

    def __init__(self, path: Path | str, reader: Reader, reading: ReadConfig) -> None:
        super().__init__(path, "video", iter(reader))
        self._reader = reader
        self.starts_late, self.ends_early = reading.start > 0, (reading.end or reading.max_frames) is not None
        self.has_companions = reader.has_companions and not self.is_live
        self.frame_rate, self.time_base = reader.frame_rate, reader.time_base
        self.rotation = reader.rotation
        self.pixel_aspect = reader.pixel_aspect  # a pixel's width / height, if known; frames are not stretched

    @property
    def header_frames(self) -> int | None:
        """Frames that the header promises; None where it does not say."""
        return self._reader.header_frames

    def notes(self) -> tuple[str, ...]:
        """Say, after the last frame, what was wrong with the file although it could be read."""
        return self._reader.notes()

    def remarks(self) -> tuple[str, ...]:
        """Say, after the last frame, what is worth knowing of the source and is no fault."""
        return self._reader.remarks()

    def close(self) -> None:
        """Close the source."""
        self._reader.close()


class ImageSource(Source):
    """One image."""

    def __init__(self, path: Path, header: Header) -> None:
        super().__init__(path, "image", iter((_image_frame(path),)), 1)
        self._pages = header.num_frames

    def remarks(self) -> tuple[str, ...]:
        """Say that there are more pages."""
        return (f"page 1 of {self._pages} was read; save the others as files",) if self._pages > 1 else ()


def open_source(path: Path | str, reading: ReadConfig = _WHOLE_VIDEO) -> Source:
    """Open an image, a folder of images, a video, a URL (http, https, rtsp) or a camera (`0`, `/dev/video0`).

    Args:
        path: what to read.
        reading: which of its frames. `stream`, `start` and `end` are about videos and say nothing of images.

    Raises:
        InputError: missing, of no known kind, damaged, without images or without a video stream.
        ConfigError: `reading` asks for what is not there.
    """
    if is_url(path):
        return VideoSource(path, VideoReader(path, output_stem(path), reading), reading)
    if (number := camera_number(path)) is not None:
        return VideoSource(path, CameraReader(number, output_stem(path), reading), reading)
    path = Path(path)
    if path.is_dir():
        images = images_in(path, recursive=reading.recursive)
        if not images:
            found = "no images in this folder" if any(path.iterdir()) else "an empty folder"
            raise InputError(f"{path}: {found}, wanted {', '.join(IMAGE_SUFFIXES)}")
        chosen = islice(enumerate(images), 0, _stop(reading), reading.stride)
        return Source(path, "folder", _folder_frames(path, chosen), len(images))
    header = _header(path)
    if _is_animation(header):
        return VideoSource(path, AnimationReader(path, output_stem(path), reading), reading)
    if _is_image(header):
        return ImageSource(path, header)
    return VideoSource(path, VideoReader(path, output_stem(path), reading), reading)


def count_frames(path: Path | str, reading: ReadConfig = _WHOLE_VIDEO) -> int | None:
    """Estimate how many frames will be read without decoding; None where that cannot be told."""
    if is_live(path) or is_url(path):
        return reading.max_frames
    path = Path(path)
    try:
        if path.is_dir():
            return expected(len(images_in(path, recursive=reading.recursive)), reading) or None
        header = _header(path)
        if _is_animation(header):
            return expected(header.num_frames, reading)
        return 1 if _is_image(header) else count_video_frames(path, reading)
    except (PosecliError, OSError):
        return None  # opening it will say why


def _stop(reading: ReadConfig) -> int | None:
    return None if reading.max_frames is None else reading.max_frames * reading.stride


def _header(path: Path) -> Header:
    """Tell images from the rest by their first bytes."""
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if not path.is_file():
        raise InputError(f"{path}: neither a file nor a folder")
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            kind = read_header(head).kind
            header = read_header(head + file.read()) if kind in {"webp", "avif", "tiff"} else read_header(head)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    if not head:
        raise InputError(f"{path}: an empty file, wanted an image or a video")
    if header.kind == "heic":
        raise InputError(f"{path}: a HEIC picture, which OpenCV cannot read; convert it to JPEG, or to AVIF")
    # Text with an image's name is a broken image; any other content may be a video whatever its name.
    is_broken_image = not header.kind and b"\0" not in head and path.suffix.lower() in IMAGE_SUFFIXES
    return Header("broken image") if is_broken_image else header


def _is_animation(header: Header) -> bool:
    return header.is_animated and header.kind in {"webp", "avif"}


def _is_image(header: Header) -> bool:
    return bool(header.kind) and not header.is_animated


def _image_frame(path: Path, index: int = 0, file_name: str = "") -> Frame:
    image = read_image(path)
    height, width = image.shape[:2]
    return Frame(index=index, image=image, width=width, height=height, file_name=file_name or path.name)


def _folder_frames(folder: Path, images: Iterator[tuple[int, Path]]) -> Iterator[Frame]:
    for index, path in images:
        file_name = path.relative_to(folder).as_posix()
        try:
            frame = _image_frame(path, index, file_name)
        except InputError:
            frame = Frame(index, None, width=0, height=0, file_name=file_name, status="decode_error")
        yield frame
