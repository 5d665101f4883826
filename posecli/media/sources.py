"""What posecli reads: an image, a folder of images or a video, told apart by content."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from posecli.errors import InputError
from posecli.media.arguments import expand_sources, images_in, output_stem
from posecli.media.images import IMAGE_SUFFIXES, read_header, read_image
from posecli.media.video import VideoReader, count_video_frames
from posecli.records import Frame

__all__ = ["Source", "VideoSource", "count_frames", "expand_sources", "open_source", "output_stem", "read_image"]

if TYPE_CHECKING:
    from typing_extensions import Self

_HEAD_BYTES = 4096  # enough to know an image by


class Source:
    """Frames from one path, upright and in order. An iterator and a context manager; frames come once."""

    frame_rate: Fraction | None = None  # mean frames per second of a video
    time_base: Fraction | None = None  # seconds per unit of `Frame.pts`
    rotation: int = 0  # degrees clockwise that a video's stored pictures were turned by; images follow their own EXIF

    def __init__(self, path: Path, kind: str, frames: Iterator[Frame], num_images: int = 0) -> None:
        self.path = path
        self.stem = output_stem(path)  # outputs are named after it
        self.kind = kind  # "image", "folder" or "video"
        self._frames = frames
        self._num_images = num_images

    @property
    def header_frames(self) -> int | None:
        """Frames to expect: those that a video's header promises, if it says, or a folder's images."""
        return self._num_images

    def notes(self) -> tuple[str, ...]:
        """Say, after the last frame, what was wrong with the file although it could be read."""
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


class VideoSource(Source):
    """A video file."""

    def __init__(self, path: Path) -> None:
        self._reader = VideoReader(path, output_stem(path))
        super().__init__(path, "video", iter(self._reader))
        self.frame_rate, self.time_base = self._reader.frame_rate, self._reader.time_base
        self.rotation = self._reader.rotation
        self.pixel_aspect = self._reader.pixel_aspect  # a pixel's width / height, if known; frames are not stretched

    @property
    def header_frames(self) -> int | None:
        """Frames that the file header promises; None where it does not say."""
        return self._reader.header_frames

    def notes(self) -> tuple[str, ...]:
        """Say, after the last frame, what was wrong with the file although it could be read."""
        return self._reader.notes()

    def close(self) -> None:
        """Close the file."""
        self._reader.close()


def open_source(path: Path | str, *, recursive: bool = False) -> Source:
    """Open an image, a folder of images (with `recursive`, those in its subfolders too) or a video.

    Raises:
        InputError: missing, of no known kind, damaged, without images or without a video stream.
    """
    path = Path(path)
    if path.is_dir():
        images = images_in(path, recursive=recursive)
        if not images:
            found = "no images in this folder" if any(path.iterdir()) else "an empty folder"
            raise InputError(f"{path}: {found}, wanted {', '.join(IMAGE_SUFFIXES)}")
        return Source(path, "folder", _folder_frames(path, images), len(images))
    if _looks_like_image(path):
        return Source(path, "image", iter((_image_frame(path),)), 1)
    return VideoSource(path)


def count_frames(path: Path | str, *, recursive: bool = False) -> int | None:
    """Estimate how many frames a source has without decoding it; None where that cannot be told."""
    path = Path(path)
    try:
        if path.is_dir():
            return len(images_in(path, recursive=recursive)) or None
        return 1 if _looks_like_image(path) else count_video_frames(path)
    except (InputError, OSError):
        return None  # opening it will say why


def _looks_like_image(path: Path) -> bool:
    """Tell images from the rest by their first bytes; a name only decides where the bytes say nothing."""
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if not path.is_file():
        raise InputError(f"{path}: neither a file nor a folder")
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    if not head:
        raise InputError(f"{path}: an empty file, wanted an image or a video")
    header = read_header(head)
    if header.kind == "webp" and header.is_animated:
        raise InputError(f"{path}: an animated WebP, which FFmpeg cannot read; convert it to MP4 or GIF")
    if header.kind:
        return not header.is_animated
    # Text with an image's name is a broken image; any other content may be a video whatever its name.
    return b"\0" not in head and path.suffix.lower() in IMAGE_SUFFIXES


def _image_frame(path: Path, index: int = 0, file_name: str = "") -> Frame:
    image = read_image(path)
    height, width = image.shape[:2]
    return Frame(index=index, image=image, width=width, height=height, file_name=file_name or path.name)


def _folder_frames(folder: Path, images: list[Path]) -> Iterator[Frame]:
    for index, path in enumerate(images):
        file_name = path.relative_to(folder).as_posix()
        try:
            frame = _image_frame(path, index, file_name)
        except InputError:
            frame = Frame(index, None, width=0, height=0, file_name=file_name, status="decode_error")
        yield frame
