"""The sound of a video, brought into another file beside its pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av

from posecli.media.containers import open_container

_AAC_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200, 96_000)  # Hz


class AudioTrack:
    """Every audio stream of a file: its packets copied where MP4 carries the codec, else encoded as AAC.

    Damaged sound ends early and stops nothing: the pictures are what was asked for.
    """

    def __init__(self, path: Path | str, output: Any) -> None:
        """Add the streams to an MP4 that has not been written to."""
        self._output = output
        self._container = open_container(path)
        self._copied: dict[Any, Any] = {}  # new stream by old one
        self._encoded: dict[Any, Any] = {}
        for stream in self._container.streams.audio:
            if stream.codec_context is None:
                continue  # a codec that this FFmpeg does not know
            if _is_copied(stream.codec_context.name, output):
                self._copied[stream] = output.add_stream_from_template(stream)
            else:
                self._encoded[stream] = _add_aac(output, stream)
        self._packets = self._read()
        self._waiting = next(self._packets, None)

    def mux_until(self, time_s: float) -> None:
        """Write what sounds before this time, so that a player finds sound and pictures side by side."""
        while self._waiting is not None and float(self._waiting.dts * self._waiting.time_base) <= time_s:
            self._mux(self._waiting)
            self._waiting = next(self._packets, None)

    def finish(self) -> None:
        """Write the rest."""
        self.mux_until(float("inf"))
        for stream in self._encoded.values():
            self._output.mux(stream.encode(None))

    def close(self) -> None:
        """Close the file that is read."""
        self._container.close()

    def _read(self) -> Iterator[Any]:
        streams = [*self._copied, *self._encoded]
        if not streams:
            return
        packets = self._container.demux(streams)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError:
                return
            if packet is None:
                return
            if packet.dts is not None:
                yield packet

    def _mux(self, packet: Any) -> None:
        if (copy := self._copied.get(packet.stream)) is not None:
            packet.stream = copy
            self._output.mux(packet)
            return
        try:
            frames = packet.decode()
        except av.FFmpegError:
            return
        for frame in frames:
            self._output.mux(self._encoded[packet.stream].encode(frame))


def _is_copied(codec: str, output: Any) -> bool:
    """Tell whether MP4 carries a codec. PCM is allowed there, but FFmpeg fails on finishing such files."""
    return codec in output.supported_codecs and not codec.startswith("pcm_")


def _add_aac(output: Any, stream: Any) -> Any:
    """Add a stream that takes this one's sound; an unnamed layout or odd rate, which AAC has not, is resampled."""
    rate = stream.rate if stream.rate in _AAC_RATES else 48_000
    return output.add_stream("aac", rate=rate, layout="mono" if stream.channels == 1 else "stereo")
