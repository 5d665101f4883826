"""Video files as upright frames with their true time stamps."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from posecli.errors import InputError
from posecli.media.images import MAX_PIXELS
from posecli.records import Frame

_TEXT_ART = frozenset(("adf", "bin", "idf", "tty", "xbin"))  # FFmpeg draws any .txt file; nobody means that
_END_TOLERANCE_S = 0.5  # headers round; a file that ends this much earlier is cut off


class VideoReader:
    """The frames of a video file, in presentation order.

    Damaged frames come as frames without an image; a file that was cut off just ends, see `notes`. Pixels that are not
    square stay as they are.
    """

    frame_rate: Fraction | None  # mean, frames/s; time stamps are what counts
    time_base: Fraction  # seconds, unit of `Frame.pts`
    pixel_aspect: Fraction | None  # width of a pixel / its height, upright
    rotation: int = 0  # degrees clockwise that turned the stored picture upright
    corrupt_frames: int = 0  # the decoder patched them up

    def __init__(self, path: Path, stem: str) -> None:
        """Open the file and decode its first picture.

        Raises:
            InputError: not a video, no video stream, too large, or without one good frame.
        """
        self._path, self._stem = path, stem
        self._container = open_container(path)
        try:
            self._stream = video_stream(self._container, path)
            self._stream.thread_type = "AUTO"
            self._header_frames = header_frames(self._stream)
            self._discarded = 0
            self._read_error = ""
            self.frame_rate = self._stream.average_rate or self._stream.guessed_rate
            self.time_base = self._stream.time_base or Fraction(1, 90_000)
            self._last_pts: int | None = None
            self._frames = self._read()
            self._first: Frame | None = next(self._frames, None)
            if self._first is None:
                raise InputError(f"{path}: not one frame could be decoded ({self._stream.codec_context.name})")
        except BaseException:
            self._container.close()
            raise

    @property
    def header_frames(self) -> int | None:
        """Frames that the header promises, without those that an edit list hides, as far as they were met."""
        return None if self._header_frames is None else self._header_frames - self._discarded

    def close(self) -> None:
        """Close the file."""
        self._frames.close()
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames; works once."""
        if self._first is not None:
            first, self._first = self._first, None
            yield first
        yield from self._frames

    def notes(self) -> tuple[str, ...]:
        """Say, after the last frame, what is wrong with the file although it could be read."""
        notes = []
        if self.corrupt_frames:
            notes.append(f"{self.corrupt_frames} frames are damaged and were patched up; poses there may be wrong")
        if self._read_error:
            notes.append(f"reading ended with an error ({self._read_error})")
        if self._header_frames is None and self._last_pts is not None:
            promised, reached = _promised_end_s(self._container, self._stream), self._last_pts * self.time_base
            if promised is not None and promised - float(reached) > _END_TOLERANCE_S + self._step * self.time_base:
                notes.append(f"frames end at {float(reached):.1f} s, but the header says {promised:.1f} s: cut off")
        return tuple(notes)

    @property
    def _step(self) -> int:
        """A usual frame's duration in units of the time base."""
        return max(round(1 / (self.frame_rate * self.time_base)), 1) if self.frame_rate else 1

    def _read(self) -> Generator[Frame, None, None]:
        """Yield frames; those lost before the first picture wait until it has told their size."""
        index = lost = 0
        width = height = 0
        for picture in self._pictures():
            if picture is None and not width:
                lost += 1
                continue
            if not width:
                self._measure(picture)
                width, height = (picture.height, picture.width) if self._turned[0] else (picture.width, picture.height)
            for _ in range(lost):
                yield self._lost_frame(index, width, height)
                index += 1
            lost = 0
            yield self._lost_frame(index, width, height) if picture is None else self._frame(index, picture)
            index += 1

    def _pictures(self) -> Iterator[Any]:
        """Yield decoded pictures, and None for a packet that could not be decoded."""
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError) as error:
                self._read_error = _reason(error)
                packet = None
            if packet is None:
                break
            self._discarded += packet.is_discard
            try:
                yield from packet.decode()
            except (av.FFmpegError, OSError):
                yield None
        if self._read_error:  # the demuxer did not get to its last packet, which empties the decoder
            yield from self._drain()

    def _drain(self) -> Iterator[Any]:
        try:
            yield from self._stream.decode(None)
        except (av.FFmpegError, OSError):
            yield None

    def _measure(self, picture: av.VideoFrame) -> None:
        matrix: Any = picture.side_data.get("DISPLAYMATRIX")
        self._turned = _orientation(np.frombuffer(bytes(matrix), np.int32)) if matrix else (False, False, False)
        self.rotation = _CLOCKWISE[self._turned]
        aspect = self._stream.sample_aspect_ratio
        self.pixel_aspect = 1 / aspect if aspect and self._turned[0] else aspect

    def _frame(self, index: int, picture: av.VideoFrame) -> Frame:
        image = _upright(picture.to_ndarray(format="rgb24"), self._turned)
        self.corrupt_frames += picture.is_corrupt
        pts = picture.pts if picture.pts is not None else self._next_pts()
        self._last_pts = pts
        return Frame(
            index=index,
            image=torch.from_numpy(image),
            width=image.shape[1],
            height=image.shape[0],
            file_name=self._file_name(index),
            pts=pts,
            time_s=float(pts * self.time_base),
        )

    def _lost_frame(self, index: int, width: int, height: int) -> Frame:
        """A placeholder, one usual frame's duration after the frame before: its own time stamp is lost."""
        pts = self._last_pts = self._next_pts()
        time_s = float(pts * self.time_base)
        return Frame(index, None, width, height, self._file_name(index), pts, time_s, status="decode_error")

    def _next_pts(self) -> int:
        return (self._stream.start_time or 0) if self._last_pts is None else self._last_pts + self._step

    def _file_name(self, index: int) -> str:
        return f"{self._stem}_{index:06d}.png"


def open_container(path: Path) -> Any:
    """Open a media file for reading. A playlist inside may name local files only, never a server's.

    Raises:
        InputError: FFmpeg cannot read it.
    """
    try:
        container = av.open(
            f"file:{path.absolute()}", metadata_errors="replace", options={"protocol_whitelist": "file"}
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"{path}: not a video or image that FFmpeg or OpenCV can read ({_reason(error)})") from None
    if container.format.name in _TEXT_ART:
        container.close()
        raise InputError(f"{path}: not a video or image that FFmpeg or OpenCV can read (text)")
    return container


def video_stream(container: Any, path: Path) -> Any:
    """Return the video stream; cover art of a song is none.

    Raises:
        InputError: there is none, or its pictures are too large or of an unknown codec.
    """
    streams = [stream for stream in container.streams.video if not _is_cover(stream)]
    if not streams:
        found = [f"{stream.type} ({_codec(stream)})" for stream in container.streams if stream.type != "video"]
        if not container.streams:
            raise InputError(f"{path}: no video stream, nor any other")
        raise InputError(f"{path}: no video stream, only {', '.join(found) or 'cover art'}")
    stream = container.streams.best("video")
    stream = stream if stream in streams else streams[0]
    if stream.codec_context is None:
        raise InputError(f"{path}: its video codec is not known to this FFmpeg; convert it to H.264")
    if stream.codec_context.width * stream.codec_context.height > MAX_PIXELS:
        size = f"{stream.codec_context.width}x{stream.codec_context.height}"
        raise InputError(f"{path}: {size} pixels, wanted {MAX_PIXELS // 10**6} million at most; scale it down")
    stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
    return stream


def header_frames(stream: Any) -> int | None:
    """Return the number of frames that the header states, not one worked out from a duration."""
    if stream.frames:
        return int(stream.frames)
    for key, value in stream.metadata.items():  # Matroska, by mkvmerge: NUMBER_OF_FRAMES, NUMBER_OF_FRAMES-eng
        if key.startswith("NUMBER_OF_FRAMES") and value.isdecimal() and int(value):
            return int(value)
    return None


def count_video_frames(path: Path) -> int | None:
    """Estimate the number of frames from the header alone, for a progress bar."""
    with open_container(path) as container:
        stream = video_stream(container, path)
        if (count := header_frames(stream)) is not None:
            return count
        rate, end_s = stream.average_rate or stream.guessed_rate, _promised_end_s(container, stream)
        return round(rate * end_s) if rate and end_s else None


def _promised_end_s(container: Any, stream: Any) -> float | None:
    """Return the end of the video in seconds as the header states it. Only a lone stream ends with its file."""
    if stream.duration and stream.time_base:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    if (tag := _tagged_seconds(stream.metadata.get("DURATION", ""))) is not None:
        return tag
    alone = len(container.streams) == 1
    return container.duration / av.time_base if alone and container.duration else None


def _tagged_seconds(tag: str) -> float | None:
    """Read Matroska's 00:01:02.500000000."""
    try:
        hours, minutes, seconds = tag.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return None


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _codec(stream: Any) -> str:
    return stream.codec_context.name if stream.codec_context is not None else "unknown"


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error) or type(error).__name__


def _orientation(matrix: np.ndarray) -> tuple[bool, bool, bool]:
    """Read FFmpeg's display matrix as (swap rows and columns, then flip left-right, then flip top-bottom).

    Source: libavutil/display.h: x' = a x + c y, y' = b x + d y for [a b u c d v x y w] in 16.16 fixed point.
    """
    a, b, _, c, d = matrix[:5].tolist()
    swapped = abs(b) > abs(a)
    return (True, c < 0, b < 0) if swapped else (False, a < 0, d < 0)


def _upright(image: np.ndarray, turned: tuple[bool, bool, bool]) -> np.ndarray:
    swapped, left_right, top_bottom = turned
    image = image.swapaxes(0, 1) if swapped else image
    image = image[:, ::-1] if left_right else image
    image = image[::-1] if top_bottom else image
    return np.ascontiguousarray(image)


# What each orientation turns by; mirrored ones are named by the turn that comes after the mirroring.
_CLOCKWISE = {
    (False, False, False): 0,
    (True, True, False): 90,
    (False, True, True): 180,
    (True, False, True): 270,
    (False, True, False): 0,
    (False, False, True): 180,
    (True, False, False): 90,
    (True, True, True): 270,
}
