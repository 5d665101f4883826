"""Media files and streams as FFmpeg opens them: which are let in, their video streams, what their headers promise."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
from av.codec.hwaccel import HWAccel, hwdevices_available

from posecli.errors import ConfigError, InputError
from posecli.media.images import max_pixels, too_large
from posecli.media.locations import is_url, shown

# A local file may name no other file and no server. FFmpeg would open what these list, or run it as a script.
_PLAYLISTS = frozenset(
    ("applehttp", "avisynth", "concat", "dash", "hls", "imf", "rtsp", "sdp", "vapoursynth", "webm_dash_manifest")
)
_PLAYLIST_STARTS = (b"#EXTM3U", b"ffconcat", b"<?xml", b"<MPD", b"v=0")
_TEXT_ART = frozenset(("adf", "bin", "idf", "tty", "xbin"))  # FFmpeg draws any .txt file; nobody means that
_SERVER_FORMATS = frozenset(("applehttp", "dash", "hls", "rtsp", "sdp"))
_SERVER_PROTOCOLS = "http,https,rtsp,rtsps,rtp,srtp,udp,tcp,tls,crypto,httpproxy"  # never file, concat, subfile, ...
TEXT_SUBTITLES = frozenset(("ass", "mov_text", "srt", "ssa", "subrip", "text", "webvtt"))  # by FFmpeg's decoder
_TIMEOUT_S = 10.0  # a server's longest silence


def open_container(source: Path | str, *, hwaccel: str = "") -> Any:
    """Open a media file or a URL for reading.

    What a playlist names is not opened from a local file at all, and from a server only on servers.

    Args:
        source: the file or URL.
        hwaccel: FFmpeg's name of hardware that decodes its videos. Where that is not there, or does not know a codec,
            the CPU decodes; a stream's codec context says which of them does (`is_hwaccel`).

    Raises:
        InputError: FFmpeg cannot read it, or the server does not answer.
        ConfigError: FFmpeg knows no such hardware.
    """
    if hwaccel and hwaccel not in hwdevices_available():
        known = ", ".join(hwdevices_available()) or "none"
        raise ConfigError(f"--hwaccel {hwaccel}: this FFmpeg was built for {known}")
    try:
        container = _open(source, hwaccel)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise InputError(f"{shown(source)}: {_refusal(source, error)}") from None
    if container.format.name in _TEXT_ART:
        container.close()
        raise InputError(f"{source}: not a video or image that FFmpeg or OpenCV can read (text)")
    return container


def _open(source: Path | str, hwaccel: str) -> Any:
    place = str(source) if is_url(source) else f"file:{Path(source).absolute()}"
    settings: dict[str, Any] = {
        "metadata_errors": "replace",
        "options": _server_options() if is_url(source) else _file_options(),
        "timeout": (_TIMEOUT_S, _TIMEOUT_S) if is_url(source) else None,
    }
    if hwaccel:
        with suppress(av.FFmpegError, OSError, ValueError, NotImplementedError):  # no such hardware, or no driver
            return av.open(place, **settings, hwaccel=HWAccel(hwaccel, allow_software_fallback=True))
    return av.open(place, **settings)


def _file_options() -> dict[str, str]:
    return {"protocol_whitelist": "file", "format_whitelist": _formats(_PLAYLISTS)}


def _server_options() -> dict[str, str]:
    formats = _formats(_PLAYLISTS - _SERVER_FORMATS)
    return {"protocol_whitelist": _SERVER_PROTOCOLS, "format_whitelist": formats, "rtsp_transport": "tcp"}


@lru_cache(maxsize=2)
def _formats(unwanted: frozenset[str]) -> str:
    return ",".join(sorted(av.formats_available - unwanted))


def _refusal(source: Path | str, error: Exception) -> str:
    """Say why a source cannot be opened, as far as its first bytes tell."""
    if is_url(source):
        return f"no video comes from there ({reason(error)})"
    head = _head(Path(source))
    if head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(_PLAYLIST_STARTS):
        return "a playlist or script, which may name any file; give the video itself"
    if head[4:8] == b"ftyp":
        return f"an MP4 or MOV without a whole index ({reason(error)}): its recording or copying stopped early"
    return f"not a video or image that FFmpeg or OpenCV can read ({reason(error)})"


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(64)
    except OSError:
        return b""


def video_streams(container: Any) -> list[Any]:
    """Return the video streams; cover art of a song is none."""
    return [stream for stream in container.streams.video if not _is_cover(stream)]


def video_stream(container: Any, name: str, number: int | None = None) -> Any:
    """Return the wanted video stream, or the best one.

    Args:
        container: an open file.
        name: what messages call it.
        number: which of its video streams, from 0.

    Raises:
        InputError: there is none, or its pictures are too large or of an unknown codec.
        ConfigError: there is no such number.
    """
    streams = video_streams(container)
    if not streams:
        found = [f"{stream.type} ({_codec(stream)})" for stream in container.streams if stream.type != "video"]
        if not container.streams:
            raise InputError(f"{name}: no video stream, nor any other")
        raise InputError(f"{name}: no video stream, only {', '.join(found) or 'cover art'}")
    if number is None:
        best = container.streams.best("video")
        stream = best if best in streams else streams[0]
    elif number < len(streams):
        stream = streams[number]
    else:
        raise ConfigError(f"{name}: --stream {number}, but its video streams are 0 to {len(streams) - 1}")
    if stream.codec_context is None:
        raise InputError(f"{name}: its video codec is not known to this FFmpeg; convert it to H.264")
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > max_pixels():
        raise InputError(f"{name}: {too_large(width, height)}")
    stream.codec_context.options = {"max_pixels": str(max_pixels())}
    return stream


def header_frames(stream: Any) -> int | None:
    """Return the number of frames that the header states, not one worked out from a duration."""
    if stream.frames:
        return int(stream.frames) - _repeats(stream)
    for key, value in stream.metadata.items():  # Matroska, by mkvmerge: NUMBER_OF_FRAMES, NUMBER_OF_FRAMES-eng
        if key.startswith("NUMBER_OF_FRAMES") and value.isdecimal() and int(value):
            return int(value)
    return None


def _repeats(stream: Any) -> int:
    """Count an AVI's empty chunks, which stand for a frame shown longer: its header counts them, its index does not."""
    entries: Any = getattr(stream, "index_entries", None) or ()  # PyAV has them from version 17 on
    if stream.container.format.name != "avi" or not len(entries):
        return 0
    return int(entries[-1].timestamp) + 1 - len(entries)


def promised_end_s(container: Any, stream: Any) -> float | None:
    """Return the end of the video in seconds as the header states it. Only a lone stream ends with its file."""
    if stream.duration and stream.time_base:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    if (tag := _tagged_seconds(stream.metadata.get("DURATION", ""))) is not None:
        return tag
    alone = len(container.streams) == 1
    return container.duration / av.time_base if alone and container.duration else None


def subtitle_codecs(container: Any) -> list[str]:
    """Return the codecs of the subtitles, those not known to FFmpeg left out."""
    contexts = [stream.codec_context for stream in container.streams.subtitles]
    return [context.name for context in contexts if context is not None]


def reason(error: BaseException) -> str:
    """Say in a few words what FFmpeg or the system complains about."""
    if isinstance(error, av.error.ExitError):
        return f"no answer for {_TIMEOUT_S:.0f} s"
    return str(getattr(error, "strerror", None) or error) or type(error).__name__


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
