"""Sources that are no files: servers' URLs and cameras."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

_URL = re.compile(r"(https?|rtsps?)://", re.IGNORECASE)
_CAMERA = re.compile(r"(?:/dev/video)?(\d{1,3})", re.ASCII)


def is_url(source: str | Path) -> bool:
    """Tell whether this names a server's stream or file: http, https, rtsp or rtsps."""
    return isinstance(source, str) and _URL.match(source) is not None


def camera_number(source: str | Path) -> int | None:
    """Return N for `N` or `/dev/videoN`, unless `N` is a file or folder; None for what is no camera."""
    match = _CAMERA.fullmatch(str(source))
    if match is None or (match[0] == match[1] and os.path.lexists(source)):
        return None
    return int(match[1])


def is_live(source: str | Path) -> bool:
    """Tell whether frames come when they are filmed, so that the source has no end of its own."""
    return camera_number(source) is not None or (is_url(source) and str(source).lower().startswith("rtsp"))


def shown(source: str | Path) -> str:
    """Return how messages and files name a source: a URL without its password and its query, which may be a key."""
    if not is_url(source):
        return str(source)
    parts = urlsplit(str(source))
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def output_stem(source: str | Path) -> str:
    """Return what the output files of a source are named after: a file's stem, a folder's whole name."""
    if is_url(source):
        parts = urlsplit(str(source))
        host = parts.netloc.rpartition("@")[2]
        name = Path(parts.path).stem or host
        return re.sub(r"[^\w.-]+", "_", name).strip(".") or "stream"
    if (number := camera_number(source)) is not None:
        return f"camera{number}"
    if os.path.isdir(source):
        return Path(source).resolve().name or "root"
    return Path(source).stem
