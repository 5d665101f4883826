"""Videos as upright frames with their true time stamps."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from posecli.config import ReadConfig
from posecli.errors import ConfigError, InputError
from posecli.media.containers import (
    TEXT_SUBTITLES,
    header_frames,
    open_container,
    promised_end_s,
    reason,
    subtitle_codecs,
    video_stream,
    video_streams,
)
from posecli.media.locations import is_live, shown
from posecli.media.orientation import Turn, from_display_matrix
from posecli.media.pictures import needs_tone_mapping, to_rgb
from posecli.media.selection import Selection, expected
from posecli.records import Frame

_END_TOLERANCE_S = 0.5  # headers round; a file that ends this much earlier is cut off
_MAX_WAITING_BYTES = 64 << 20  # of packets that may turn out needless; they are decoded when there are more
_ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}  # FFmpeg's own decoders of these leave transparency out


class VideoReader:
    """The chosen frames of a video, in presentation order.

    Lost frames come as frames without an image, patched-up ones and those that build on them as "damaged"; a file that
    was cut off just ends, see `notes`. Pixels that are not square stay as they are.
    """

    frame_rate: Fraction | None  # mean, frames/s; time stamps are what counts
    time_base: Fraction  # seconds, unit of `Frame.pts`
    pixel_aspect: Fraction | None  # width of a pixel / its height, upright
    rotation: int = 0  # degrees clockwise that turned the stored picture upright

    def __init__(self, source: Path | str, stem: str, reading: ReadConfig) -> None:
        """Open the source and decode the first picture wanted.

        Raises:
            InputError: not a video, no video stream, too large, or without one good frame.
            ConfigError: no such stream, or no frame in the time asked for.
        """
        self._name, self._stem, self._is_live = shown(source), stem, is_live(source)
        self._container = open_container(source, hwaccel=reading.hwaccel)
        try:
            self._stream = video_stream(self._container, self._name, reading.stream)
            self._stream.thread_type = "AUTO"
            self._decoder = _decoder(self._stream)
            # Taken down now, because FFmpeg's memory is gone once the source is closed.
            self._header_frames = header_frames(self._stream)
            self._promised_end_s = promised_end_s(self._container, self._stream)
            self._remarks = _remarks(self._container, self._stream)
            if reading.hwaccel and not self._decoder.is_hwaccel:
                codec = self._stream.codec_context.name
                self._remarks += (f"decoded on the CPU: --hwaccel {reading.hwaccel} cannot decode {codec} here",)
            self.frame_rate = self._stream.average_rate or self._stream.guessed_rate
            self.time_base = self._stream.time_base or Fraction(1, 90_000)
            self.has_companions = bool(self._container.streams.audio or self._container.streams.subtitles)
            self._selection = Selection(reading, self._stream.start_time, self.time_base)
            self._turn = Turn()
            self._size_wh = (0, 0)
            self._index = self._discarded = self._damaged = 0
            self._is_suspect = self._is_interlaced = False
            self._first_pts = self._selection.first_pts  # frames before are not wanted
            self._is_counted = True  # they were counted as packets
            self._read_error = ""
            self._last_pts: int | None = None
            self._frames = self._read()
            self._first: Frame | None = next(self._frames, None)
            if self._first is None:
                raise self._nothing()
        except BaseException:
            self._container.close()
            raise

    @property
    def header_frames(self) -> int | None:
        """Frames that the header promises, without those that an edit list hides, as far as they were met."""
        return None if self._header_frames is None else self._header_frames - self._discarded

    def close(self) -> None:
        """Close the source."""
        self._frames.close()
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames; works once."""
        if self._first is not None:
            first, self._first = self._first, None
            yield first
        yield from self._frames

    def notes(self) -> tuple[str, ...]:
        """Say, after the last frame, what is wrong with the source although it could be read."""
        notes = []
        if self._damaged:
            notes.append(f"{self._damaged} frames are damaged and were patched up; poses there may be wrong")
        if self._read_error:
            notes.append(f"reading ended with an error ({self._read_error})")
        if not self._selection.ended and not self._is_live:
            notes += self._cut_off()
        return tuple(notes)

    def remarks(self) -> tuple[str, ...]:
        """Say what is worth knowing of the source and is no fault."""
        comb = "interlaced: moving edges are combs, poses there are less sure; deinterlace for better ones"
        return (*self._remarks, comb) if self._is_interlaced else self._remarks

    def _cut_off(self) -> list[str]:
        """Hold what was met against what the header promised: no error is raised by a truncated file."""
        header = self.header_frames
        if header is not None:
            missing = self._index < header
            return [f"{self._index} frames met, but the header says {header}: cut off or damaged"] if missing else []
        promised = self._promised_end_s
        if promised is None or self._last_pts is None:
            return []
        reached = self._last_pts * self.time_base
        if promised - float(reached) <= _END_TOLERANCE_S + self._step * self.time_base:
            return []
        return [f"frames end at {float(reached):.1f} s, but the header says {promised:.1f} s: cut off"]

    def _nothing(self) -> InputError | ConfigError:
        """Tell why there is no first frame."""
        if self._last_pts is not None or self._index:
            return ConfigError(f"{self._name}: no frame from --start on; it has {self._index} frames before")
        return InputError(f"{self._name}: not one frame could be decoded ({self._stream.codec_context.name})")

    @property
    def _step(self) -> int:
        """A usual frame's duration in units of the time base."""
        return max(round(1 / (self.frame_rate * self.time_base)), 1) if self.frame_rate else 1

    def _read(self) -> Generator[Frame, None, None]:
        """Yield frames; those lost before the first picture wait until it has told their size."""
        lost = 0
        for picture in self._pictures():
            if self._size_wh == (0, 0):
                if picture is None:
                    lost += 1
                    continue
                self._measure(picture)
            for damage in (*[None] * lost, picture):
                yield from self._chosen(damage)
            lost = 0
            if self._selection.ended:
                return

    def _chosen(self, picture: Any) -> Iterator[Frame]:
        """Yield the picture as a frame if it is wanted; pictures that nobody wants are not converted."""
        pts = picture.pts if picture is not None and picture.pts is not None else self._next_pts()
        self._last_pts = pts
        if self._is_counted and self._first_pts is not None and pts < self._first_pts:
            return
        index, self._index = self._index, self._index + 1
        status = self._status(picture)
        if self._selection.takes(pts):
            yield self._frame(index, pts, picture, status)

    def _status(self, picture: Any) -> str:
        """Judge a picture: after a loss, all are doubtful up to the next one that builds on no other."""
        if picture is None:
            self._is_suspect = True
            return "decode_error"
        self._is_interlaced |= picture.interlaced_frame
        self._is_suspect = picture.is_corrupt or (self._is_suspect and not picture.key_frame)
        return "damaged" if self._is_suspect else "ok"

    def _pictures(self) -> Iterator[Any]:
        """Yield decoded pictures, and None for a packet that could not be decoded."""
        for packet in self._needed(self._packets()):
            try:
                yield from self._decoder.decode(packet)
            except (av.FFmpegError, OSError):
                yield None
        if self._read_error:  # the demuxer did not get to its last packet, which empties the decoder
            try:
                yield from self._decoder.decode(None)
            except (av.FFmpegError, OSError):
                yield None

    def _packets(self) -> Iterator[Any]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError) as error:
                self._read_error = reason(error)
                return
            if packet is None:
                return
            self._count(packet)
            yield packet

    def _needed(self, packets: Iterator[Any]) -> Iterator[Any]:
        """Leave out what lies before the last key frame before `start`: counted, but not decoded.

        Seeking would be quicker still, but then nobody knew the frames' indexes, and not every format seeks exactly.
        """
        waiting: deque[Any] = deque()
        if self._first_pts is not None:
            self._gather(packets, waiting, self._first_pts)
        while waiting:
            yield waiting.popleft()
        yield from packets

    def _gather(self, packets: Iterator[Any], waiting: deque[Any], first: int) -> None:
        """Take packets up to the first wanted frame's, and keep those since the last key frame."""
        held = 0  # bytes
        for packet in packets:
            stamp = _stamp(packet)
            if packet.is_keyframe and stamp is not None and stamp <= first:
                waiting.clear()
                held = 0
            waiting.append(packet)
            held += packet.size
            decoded_at = packet.dts if packet.dts is not None else stamp
            if decoded_at is None or decoded_at >= first or held > _MAX_WAITING_BYTES:
                return

    def _count(self, packet: Any) -> None:
        """Take down what the packet stands for: a frame before `start`, or one that is never shown."""
        self._discarded += packet.is_discard
        stamp = _stamp(packet)
        if self._first_pts is not None and packet.size and not packet.is_discard:
            self._is_counted &= stamp is not None
            self._index += stamp is not None and stamp < self._first_pts

    def _measure(self, picture: av.VideoFrame) -> None:
        matrix: Any = picture.side_data.get("DISPLAYMATRIX")
        self._turn = from_display_matrix(np.frombuffer(bytes(matrix), np.int32)) if matrix else Turn()
        self.rotation = self._turn.clockwise
        self._size_wh = (picture.height, picture.width) if self._turn.swapped else (picture.width, picture.height)
        aspect = self._stream.sample_aspect_ratio
        self.pixel_aspect = 1 / aspect if aspect and self._turn.swapped else aspect

    def _frame(self, index: int, pts: int, picture: Any, status: str) -> Frame:
        """Return a frame; a lost one's own time stamp is lost, and it lies a usual duration after the one before."""
        image = None if picture is None else torch.from_numpy(self._turn.apply(to_rgb(picture, self._decoder)))
        width, height = self._size_wh if image is None else (image.shape[1], image.shape[0])
        self._damaged += status == "damaged"
        time_s = float(pts * self.time_base)
        return Frame(index, image, width, height, f"{self._stem}_{index:06d}.png", pts, time_s, status)

    def _next_pts(self) -> int:
        return (self._stream.start_time or 0) if self._last_pts is None else self._last_pts + self._step


def _remarks(container: Any, stream: Any) -> tuple[str, ...]:
    remarks = []
    streams = video_streams(container)
    if len(streams) > 1:
        remarks.append(f"video stream {streams.index(stream)} of {len(streams)} was read; --stream chooses another")
    if needs_tone_mapping(stream.codec_context):
        remarks.append("HDR, tone-mapped to 8-bit SDR")
    if pictures := [name for name in subtitle_codecs(container) if name not in TEXT_SUBTITLES]:
        remarks.append(f"its subtitles are pictures ({', '.join(pictures)}), which the overlay leaves out")
    return tuple(remarks)


def _stamp(packet: Any) -> int | None:
    stamp: int | None = packet.pts if packet.pts is not None else packet.dts
    return stamp


def _decoder(stream: Any) -> Any:
    """Return a stream's decoder: its own, or another that knows transparency where the stream has that."""
    name = _ALPHA_DECODERS.get(stream.codec_context.name, "")
    tags = {key.lower(): value for key, value in stream.metadata.items()}
    if tags.get("alpha_mode") != "1" or name not in av.codecs_available:
        return stream.codec_context
    decoder = av.CodecContext.create(name, "r")
    decoder.extradata = stream.codec_context.extradata
    return decoder


def count_video_frames(source: Path | str, reading: ReadConfig) -> int | None:
    """Estimate from the header alone how many frames will be read, for a progress bar."""
    with open_container(source) as container:
        stream = video_stream(container, shown(source), reading.stream)
        rate, end_s = stream.average_rate or stream.guessed_rate, promised_end_s(container, stream)
        count = header_frames(stream)
        if count is None:
            count = round(rate * end_s) if rate and end_s else None
        first = round(reading.start * rate) if rate else 0
        last = round(reading.end * rate) if rate and reading.end is not None else None
        return None if count is None else expected(count, reading, first, last)
