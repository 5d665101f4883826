"""Still image files as upright 8-bit RGB.

OpenCV decodes; this module looks at the header first, because OpenCV tells nothing of transparency, of files that were
cut off, or of a picture that would fill the memory.
"""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from posecli.errors import ConfigError, InputError
from posecli.media.headers import avif_turn, exif_orientation, read_header
from posecli.media.orientation import Turn, from_exif

IMAGE_SUFFIXES = (
    ".avif", ".bmp", ".dib", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff",
    ".webp",
)  # fmt: skip
_MAX_PIXELS = 200_000_000  # 600 MB as RGB; a larger header is a mistake or an attack
_MAX_PIXELS_VARIABLE = "POSECLI_MAX_PIXELS"


def read_image(path: Path | str) -> Tensor:
    """Return an image file as an upright (H, W, 3) uint8 RGB tensor.

    EXIF orientation is applied. 16-bit samples lose their lower byte. Transparent parts become white, as viewers show
    them: the colour stored under them is arbitrary, and dark clothes and hair keep an outline on white.

    Raises:
        InputError: no such file, not an image, cut off, or larger than `max_pixels()`.
    """
    path = Path(path)
    try:
        data = np.fromfile(path, dtype=np.uint8)  # cv2.imread fails on non-ASCII names on Windows
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    return torch.from_numpy(decode_image(data, str(path)))


def decode_image(data: np.ndarray, name: str) -> np.ndarray:
    """Decode the (n,) uint8 bytes of an image file; see `read_image`. `name` is what messages call it."""
    header = read_header(data.tobytes())
    if not data.size:
        raise InputError(f"{name}: an empty file, wanted an image")
    if header.is_cut_off:
        raise InputError(f"{name}: the image is cut off after {data.size} bytes; copy the file again")
    if header.width * header.height > max_pixels():
        raise InputError(f"{name}: {too_large(header.width, header.height)}")
    try:
        rgb = _decode_transparent(data) if header.has_alpha else None
        turn = avif_turn(data.tobytes()) if header.kind == "avif" else Turn()
        if rgb is None:
            bgr = cv2.imdecode(data, cv2.IMREAD_COLOR)
            rgb = None if bgr is None else cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
    except (cv2.error, MemoryError) as error:
        reason = " ".join(str(error).split())[:80]
        raise InputError(f"{name}: the image cannot be decoded ({reason})") from None
    if rgb is None and header.kind == "avif" and not cv2.haveImageWriter(".avif"):
        raise InputError(f"{name}: AVIF, which this OpenCV ({cv2.__version__}) cannot read; convert it to JPEG")
    if rgb is None:
        found = f"a damaged {header.kind.upper()}" if header.kind else "not an image that OpenCV can read"
        raise InputError(f"{name}: {found}; save it again as JPEG or PNG")
    return turn.apply(rgb)


def max_pixels() -> int:
    """Return how many pixels a picture may have; the environment variable POSECLI_MAX_PIXELS lifts the limit.

    Raises:
        ConfigError: the variable is no whole number above 0.
    """
    text = os.environ.get(_MAX_PIXELS_VARIABLE, "") or str(_MAX_PIXELS)
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise ConfigError(f"{_MAX_PIXELS_VARIABLE}={text}: wanted a whole number of pixels")
    return int(text)


def too_large(width: int, height: int) -> str:
    """Say that a picture has more than `max_pixels()`."""
    limit = f"wanted {max_pixels() / 10**6:g} million at most"
    return f"{width}x{height} pixels, {limit}; scale it down, or raise {_MAX_PIXELS_VARIABLE}"


def _decode_transparent(data: np.ndarray) -> np.ndarray | None:
    """Return RGB over white; None where the decoder finds no transparency after all."""
    bgra = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)  # this mode leaves the orientation to us
    if bgra is None or bgra.ndim != 3 or bgra.shape[2] != 4 or bgra.dtype not in (np.uint8, np.uint16):
        return None
    if bgra.dtype == np.uint16:
        bgra = (bgra // 256).astype(np.uint8)
    opacity = bgra[:, :, 3:].astype(np.float32) / 255
    bgr = 255 + (bgra[:, :, :3].astype(np.float32) - 255) * opacity
    rgb = cv2.cvtColor(np.rint(bgr).astype(np.uint8), cv2.COLOR_BGR2RGB)
    return from_exif(exif_orientation(data.tobytes())).apply(rgb)
