"""A video with its people drawn on it, as MP4 with the source's own time stamps, sound and subtitles."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

from posecli.errors import InputError
from posecli.media.companions import Companions
from posecli.media.encoders import find_encoder
from posecli.media.faces import Region, head_regions
from posecli.media.files import part_path, put_in_place
from posecli.media.overlay import Drawer
from posecli.media.sources import VideoSource
from posecli.records import Annotated

_BT709, _LIMITED = 1, 1  # ITU-T H.273 and FFmpeg's colour range: what players take for granted
_FACES_LAST_S = 0.3  # a face stays hidden so long when nobody is found there any more
_USUAL_RATE = Fraction(25)


class VideoOverlay:
    """`STEM.overlay.mp4`.

    Time stamps are the source's own, unless reading began later than the source: then the video begins with the
    first frame read, as players expect.
    """

    def __init__(self, directory: Path, source: VideoSource, draw: Drawer) -> None:
        self._path = directory / f"{source.stem}.overlay.mp4"
        self._temporary = part_path(self._path)
        self._source, self._draw = source, draw
        self._encoder = find_encoder(draw.config.overlay_codec)
        self._converter = VideoReformatter()
        self._output: OutputContainer | None = None
        self._stream: Any = None
        self._companions: Companions | None = None
        self._first_pts = 0  # what becomes 0
        self._last_pts: int | None = None
        self._faces: deque[tuple[float, list[Region]]] = deque()  # by time of their frame, seconds

    def write(self, annotated: Annotated) -> None:
        """Draw and encode one frame; a frame that was not decoded shows as the one before lasting longer."""
        drawn = self._draw(annotated, self._recent_faces(annotated))
        if drawn is None:
            return
        pts = annotated.frame.pts
        with _encoding(self._path):
            if self._output is None:
                self._first_pts = pts or 0 if self._source.starts_late else 0
                self._open(drawn.shape[1], drawn.shape[0])
            self._mux(self._stream.encode(self._picture(drawn, pts)))

    def _recent_faces(self, annotated: Annotated) -> list[Region]:
        """Return where faces were a moment ago, and remember the frame's own."""
        if not self._draw.config.blur_faces:
            return []
        now_s = annotated.frame.time_s or 0.0
        while self._faces and not 0 <= now_s - self._faces[0][0] <= _FACES_LAST_S:
            self._faces.popleft()
        recent = [region for _, regions in self._faces for region in regions]
        self._faces.append((now_s, head_regions(annotated.poses)))
        return recent

    def _picture(self, drawn: np.ndarray, pts: int | None) -> av.VideoFrame:
        pts = pts - self._first_pts if pts is not None else (self._last_pts or 0) + 1
        if self._last_pts is not None and pts <= self._last_pts:
            pts = self._last_pts + 1  # encoders refuse time that stands still
        self._last_pts = pts
        rgb = av.VideoFrame.from_numpy_buffer(self._fit(drawn), format="rgb24")
        picture = self._converter.reformat(
            rgb,
            format=self._encoder.pixels,
            dst_colorspace=Colorspace.ITU709,
            dst_color_range=self._range,
            interpolation=Interpolation.POINT,  # a third quicker than others, and nothing is scaled but colour
            threads=1,  # splitting the work costs more than it takes
        )
        picture.pts, picture.time_base = pts, self._source.time_base
        return picture

    @property
    def _range(self) -> int:
        return _LIMITED + self._encoder.pixels.startswith("yuvj")

    def _open(self, width: int, height: int) -> None:
        source, encoder = self._source, self._encoder
        options = {"movflags": "+faststart"}
        if source.time_base is not None:
            options["movie_timescale"] = str(source.time_base.denominator)  # else a late start is rounded to 1 ms
        self._output = av.open(str(self._temporary), "w", format="mp4", options=options)
        rate = source.frame_rate or _USUAL_RATE
        self._stream = self._output.add_stream(encoder.name, rate=rate, options=dict(encoder.options))
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt = encoder.pixels
        context = self._stream.codec_context
        if encoder.tag:
            context.codec_tag = encoder.tag
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = self._range
        if source.time_base is not None:
            self._stream.time_base = context.time_base = source.time_base
        if source.pixel_aspect:
            context.sample_aspect_ratio = source.pixel_aspect
        if source.has_companions:
            start_s = self._first_pts * (source.time_base or 0)
            self._companions = Companions(source.path, self._output, Fraction(start_s))

    def _fit(self, drawn: np.ndarray) -> np.ndarray:
        """Bring a picture to the stream's even size: one more row or column; a changed resolution is scaled."""
        height, width = drawn.shape[:2]
        wanted_wh = (self._stream.width, self._stream.height)
        if (width, height) == wanted_wh:
            return drawn
        if wanted_wh[0] - width in {0, 1} and wanted_wh[1] - height in {0, 1}:
            return np.pad(drawn, ((0, wanted_wh[1] - height), (0, wanted_wh[0] - width), (0, 0)), mode="edge")
        return np.ascontiguousarray(cv2.resize(drawn, wanted_wh))

    def _mux(self, packets: Any) -> None:
        for packet in packets:
            if self._output is not None:
                if self._companions is not None:
                    self._companions.mux_until(float(packet.dts * packet.time_base))
                self._output.mux(packet)

    def finish(self) -> list[Path]:
        """Flush the encoder, bring the rest of the sound, and rename."""
        if self._output is None:
            return []
        with _encoding(self._path):
            self._mux(self._stream.encode(None))
            if self._companions is not None:
                self._companions.finish(self._end_s() if self._source.ends_early else float("inf"))
            self._close()
        put_in_place(self._temporary, self._path)
        return [self._path]

    def _end_s(self) -> float:
        """Return when the last picture ends."""
        last = (self._last_pts or 0) * (self._source.time_base or 0)
        return float(last + 1 / (self._source.frame_rate or _USUAL_RATE))

    def abort(self) -> None:
        """Remove the unfinished video."""
        with suppress(av.FFmpegError, OSError):
            self._close()
        self._temporary.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._output is not None:
            output, self._output = self._output, None
            if self._companions is not None:
                self._companions.close()
            output.close()


@contextmanager
def _encoding(path: Path) -> Iterator[None]:
    """Turn what FFmpeg cannot encode into an InputError; a full disk stays an OSError."""
    try:
        yield
    except av.FFmpegError as error:
        if isinstance(error, OSError):
            raise
        raise InputError(f"{path}: the overlay cannot be encoded ({error.strerror}); use --no-overlay") from error
