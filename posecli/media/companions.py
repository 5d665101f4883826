"""The sound and the subtitles of a video, brought into an MP4 beside its pictures."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av

from posecli.media.containers import TEXT_SUBTITLES, open_container

_AAC_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200, 96_000)  # Hz
_MAX_TEXT = 0xFFFF  # bytes of a subtitle in MP4


class _Way(Protocol):
    """How the packets of one stream come into the MP4."""

    def packets(self, packet: Any) -> Iterable[Any]:
        """Return what to write for a packet of the source."""

    def last(self) -> Iterable[Any]:
        """Return what is left to write at the end."""


class Companions:
    """Every audio and text subtitle stream of a file: copied where MP4 carries the codec, else as AAC and mov_text.

    Damaged ones end early and stop nothing: the pictures are what was asked for.
    """

    def __init__(self, path: Path | str, output: Any, start_s: Fraction = Fraction(0)) -> None:
        """Add the streams to an MP4 that has not been written to.

        Args:
            path: the source.
            output: the open MP4.
            start_s: this time of the source is the MP4's beginning; what lies before is left out.
        """
        self._output, self._start_s = output, start_s
        self._container = open_container(path)
        self._ways: dict[Any, _Way] = {}
        for stream in (*self._container.streams.audio, *self._container.streams.subtitles):
            way = None if stream.codec_context is None else _way(stream, output)
            if way is not None:
                self._ways[stream] = way
        self._packets = self._read()
        self._waiting = next(self._packets, None)

    def mux_until(self, time_s: float) -> None:
        """Write what comes before this time of the MP4, so that a player finds sound and pictures side by side."""
        while self._waiting is not None and float(self._waiting.dts * self._waiting.time_base) <= time_s:
            for packet in self._ways[self._waiting.stream].packets(self._waiting):
                self._output.mux(packet)
            self._waiting = next(self._packets, None)

    def finish(self, time_s: float = float("inf")) -> None:
        """Write the rest up to this time of the MP4."""
        self.mux_until(time_s)
        for way in self._ways.values():
            for packet in way.last():
                self._output.mux(packet)

    def close(self) -> None:
        """Close the file that is read."""
        self._container.close()

    def _read(self) -> Iterator[Any]:
        """Yield packets, their time counted from `start_s`."""
        if not self._ways:
            return
        if self._start_s:
            self._container.seek(int(self._start_s * av.time_base))
        packets = self._container.demux(list(self._ways))
        while True:
            try:
                packet = next(packets, None)
            except (av.FFmpegError, OSError):
                return
            if packet is None:
                return
            if packet.dts is None or packet.pts is None:
                continue
            shift = round(self._start_s / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            if packet.pts >= 0 or not self._start_s:
                yield packet


class _Copied:
    """Packets as they are."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def packets(self, packet: Any) -> Iterable[Any]:
        packet.stream = self._stream
        return (packet,)

    def last(self) -> Iterable[Any]:
        return ()


class _Encoded:
    """Sound that MP4 does not carry, as AAC; an unnamed layout or odd rate, which AAC has not, is resampled."""

    def __init__(self, stream: Any, output: Any) -> None:
        rate = stream.rate if stream.rate in _AAC_RATES else 48_000
        self._stream = output.add_stream("aac", rate=rate, layout="mono" if stream.channels == 1 else "stereo")

    def packets(self, packet: Any) -> Iterable[Any]:
        try:
            frames = packet.decode()
        except av.FFmpegError:
            return ()
        return [encoded for frame in frames for encoded in self._stream.encode(frame)]

    def last(self) -> Iterable[Any]:
        encoded: Iterable[Any] = self._stream.encode(None)
        return encoded


class _MovText:
    """Text subtitles, without their styles."""

    def __init__(self, stream: Any, output: Any) -> None:
        self._codec = stream.codec_context.name
        self._stream = output.add_mux_stream("mov_text")
        self._stream.time_base = Fraction(1, 1000)
        if stream.language:
            self._stream.metadata["language"] = stream.language

    def packets(self, packet: Any) -> Iterable[Any]:
        data = bytes(packet)
        if self._codec != "mov_text":
            text = _plain(data.decode("utf-8", "replace"), self._codec).encode()[:_MAX_TEXT]
            text = text.decode("utf-8", "ignore").encode()  # the limit may have cut a letter
            data = len(text).to_bytes(2, "big") + text
        if not data.strip(b"\0"):
            return ()  # silence, which the MP4 gets by itself
        new = av.Packet(data)
        new.pts, new.dts, new.duration, new.time_base = packet.pts, packet.dts, packet.duration, packet.time_base
        new.stream = self._stream
        return (new,)

    def last(self) -> Iterable[Any]:
        return ()


def _way(stream: Any, output: Any) -> _Way | None:
    """Choose how a stream gets into the MP4; None: it cannot."""
    if stream.type == "audio":
        name = stream.codec_context.name
        # PCM is allowed in MP4, but FFmpeg fails on finishing such files.
        if name in output.supported_codecs and not name.startswith("pcm_"):
            return _Copied(output.add_stream_from_template(stream))
        return _Encoded(stream, output)
    if stream.codec_context.name in TEXT_SUBTITLES and hasattr(output, "add_mux_stream"):
        return _MovText(stream, output)
    return None


def _plain(text: str, codec: str) -> str:
    """Return a subtitle's words without mark-up."""
    if codec in {"ass", "ssa"}:
        text = text.split(",", 8)[-1]
        return re.sub(r"\{[^}]*\}", "", text).replace("\\N", "\n").replace("\\n", "\n").replace("\\h", " ")
    return re.sub(r"</?[A-Za-z][^>]*>", "", text).replace("\r\n", "\n")
