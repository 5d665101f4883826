"""Encoders of drawn videos: what FFmpeg has here, and how each is set to be quick and good enough to look at."""

from __future__ import annotations

from typing import Any, NamedTuple

import av

from posecli.errors import ConfigError

_CARRIED = frozenset(("av1", "h264", "hevc", "mjpeg", "mpeg2video", "mpeg4", "vp9"))  # by MP4, for players too


class Encoder(NamedTuple):
    """A video encoder and its settings."""

    name: str
    options: dict[str, str]
    pixels: str = "yuv420p"
    tag: str = ""  # players of Apple look for it


# Without its macroblock tree, x264 makes the same bytes of the same pictures every time; with it, now and then not. The
# others take a third of the time from "superfast", for files as large and, at this crf, as near to the source (PSNR).
# "ultrafast" would save half a millisecond more, and makes files more than half as large again.
_X264 = "mbtree=0:aq-mode=0:weightp=0:b-adapt=0:scenecut=0:subme=0"
_SOFTWARE = {
    "h264": Encoder("libx264", {"crf": "24", "preset": "superfast", "x264-params": _X264}),
    "hevc": Encoder("libx265", {"crf": "26", "preset": "veryfast", "x265-params": "log-level=error"}, tag="hvc1"),
    "vp9": Encoder("libvpx-vp9", {"crf": "32", "b": "0", "deadline": "realtime", "cpu-used": "6", "row-mt": "1"}),
    "av1": Encoder("libsvtav1", {"crf": "32", "preset": "9"}),
    "mjpeg": Encoder("mjpeg", {"qmin": "3", "qmax": "3"}, pixels="yuvj420p"),
    "mpeg4": Encoder("mpeg4", {"qmin": "3", "qmax": "3"}),
}


def find_encoder(codec: str) -> Encoder:
    """Return the encoder of a codec (h264, ...), or the one that has this FFmpeg name (libx264, h264_nvenc, ...).

    Raises:
        ConfigError: there is none, or MP4 does not carry what it makes.
    """
    encoder = _SOFTWARE.get(codec) or Encoder(codec, {})
    context = _context(encoder.name)
    if context is None or context.type != "video" or context.canonical_name not in _CARRIED:
        there = [name for name, known in _SOFTWARE.items() if _context(known.name) is not None]
        wanted = f"choose from {', '.join(there)}, or an FFmpeg encoder whose video MP4 carries"
        raise ConfigError(f"--overlay-codec {codec}: not to be had here; {wanted}")
    if codec in _SOFTWARE:
        return encoder
    formats = [pixels.name for pixels in context.video_formats or ()]
    return encoder if not formats or encoder.pixels in formats else encoder._replace(pixels=formats[0])


def _context(name: str) -> Any:
    try:
        return av.Codec(name, "w")
    except (av.FFmpegError, ValueError):
        return None
