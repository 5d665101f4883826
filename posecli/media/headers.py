"""What the first bytes of an image file say without decoding: kind, size, transparency, orientation, whether whole."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

from posecli.media.orientation import Turn

_EXIF_ORIENTATION = 0x0112
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_COLOURS, _TIFF_SAMPLES = 256, 257, 262, 277
_TIFF_RGB = 2
_NOT_FRAME_HEADERS = (0xC4, 0xC8, 0xCC)  # JPEG markers C0 to CF start a frame, but for these tables


@dataclass(frozen=True, slots=True)
class Header:
    """What the first bytes of an image file say, as far as they say it."""

    kind: str  # "jpeg", "png", ...; "" for what is not known as an image
    width: int = 0  # as stored, before orientation; 0: not known
    height: int = 0
    has_alpha: bool = False
    is_animated: bool = False
    is_cut_off: bool = False
    num_frames: int = 1  # pictures of an animation, pages of a TIFF


def read_header(data: bytes) -> Header:
    """Read what can be told without decoding. Never fails: a broken header has size 0."""
    try:
        for magic, read in _READERS:
            if re.match(magic, data, re.DOTALL):
                return read(data)
    except (struct.error, IndexError):
        return Header("broken image")
    return Header("")


def exif_orientation(data: bytes) -> int:
    """Return the EXIF orientation of a PNG or WebP file; 1, upright, where there is none."""
    start = data.find(b"eXIf") + 4 if data.startswith(b"\x89PNG") else data.find(b"EXIF") + 8
    if start < 8:
        return 1
    exif = data[start:].removeprefix(b"Exif\0\0")
    try:
        value = _tiff_tags(exif).get(_EXIF_ORIENTATION, 1)
    except (struct.error, IndexError):
        return 1
    return value if 1 <= value <= 8 else 1


def avif_turn(data: bytes) -> Turn:
    """Return how an AVIF's picture stands upright, which OpenCV does not look at; its EXIF orientation does not count.

    Source: ISO/IEC 23008-12, `irot` (quarter turns counter-clockwise), then `imir`, as libavif's avif.h explains them.
    """
    head = data[: max(data.find(b"mdat"), 0)]
    rotation, mirror = head.find(b"irot") + 4, head.find(b"imir") + 4
    quarters = head[rotation] & 3 if 4 <= rotation < len(head) else 0
    swapped, left_right, top_bottom = _QUARTERS[quarters]
    if 4 <= mirror < len(head):
        is_sideways = bool(head[mirror] & 1)
        left_right, top_bottom = left_right ^ is_sideways, top_bottom ^ (not is_sideways)
    return Turn(swapped, left_right, top_bottom)


_QUARTERS = (Turn(), Turn(True, False, True), Turn(False, True, True), Turn(True, True, False))


def _read_jpeg(data: bytes) -> Header:
    position, width, height = 2, 0, 0
    while position + 4 <= len(data):
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        if data[position] != 0xFF or marker == 0xFF:  # fill bytes, or rubbish that decoders skip
            position += 1
        elif marker == 0xDA:  # the scan: nothing but the end marker is of interest; data never contain it
            return Header("jpeg", width, height, is_cut_off=data.find(b"\xff\xd9", position) < 0)
        else:
            if 0xC0 <= marker <= 0xCF and marker not in _NOT_FRAME_HEADERS:
                height, width = struct.unpack_from(">HH", data, position + 5)
            position += 2 + length
    return Header("jpeg", width, height, is_cut_off=True)


def _read_png(data: bytes) -> Header:
    width, height, _, colour_type = struct.unpack_from(">IIBB", data, 16)
    head = data[: max(data.find(b"IDAT"), 0)]
    has_alpha = colour_type in (4, 6) or b"tRNS" in head
    return Header("png", width, height, has_alpha, b"acTL" in head, b"IEND" not in data[-4096:])


def _read_bmp(data: bytes) -> Header:
    width, height = struct.unpack_from("<ii", data, 18)
    return Header("bmp", abs(width), abs(height))  # negative height: rows from the top


def _read_webp(data: bytes) -> Header:
    cut_off = len(data) < 8 + int.from_bytes(data[4:8], "little")
    form = data[12:16]
    if form == b"VP8X":
        width, height = (1 + int.from_bytes(data[start : start + 3], "little") for start in (24, 27))
        flags, count = data[20], data.count(b"ANMF", 30)
        return Header("webp", width, height, bool(flags & 0x10), bool(flags & 0x02), cut_off, max(count, 1))
    if form == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return Header("webp", 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), bool(bits >> 28 & 1), False, cut_off)
    width, height = struct.unpack_from("<HH", data, 26)
    return Header("webp", width & 0x3FFF, height & 0x3FFF, is_cut_off=cut_off)


def _read_tiff(data: bytes) -> Header:
    tags = _tiff_tags(data)
    has_alpha = tags.get(_TIFF_COLOURS) == _TIFF_RGB and tags.get(_TIFF_SAMPLES) == 4
    size = tags.get(_TIFF_WIDTH, 0), tags.get(_TIFF_HEIGHT, 0)
    return Header("tiff", *size, has_alpha, num_frames=_count_pages(data))


def _count_pages(data: bytes) -> int:
    """Follow a TIFF's chain of directories; it may go in a circle, and in a file's first bytes it soon ends."""
    order = "<" if data[:2] == b"II" else ">"
    (place,), seen = struct.unpack_from(order + "I", data, 4), set[int]()
    while place and place not in seen and place + 2 <= len(data):
        seen.add(place)
        (count,) = struct.unpack_from(order + "H", data, place)
        end = place + 2 + 12 * count
        (place,) = struct.unpack_from(order + "I", data, end) if end + 4 <= len(data) else (0,)
    return len(seen)


def _tiff_tags(data: bytes) -> dict[int, int]:
    """Return the numbers in the first directory of a TIFF structure, which EXIF is as well."""
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, start)
    tags = {}
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(order + "HH", data, entry)
        (tags[tag],) = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, entry + 8)
    return tags


def _read_avif(data: bytes) -> Header:
    """Read AVIF, a single picture or (brand avis) an animation with a table of its samples."""
    width, height = _after(data, b"ispe", ">4xII")
    if data[8:12] != b"avis":
        return Header("avif", width, height)
    _, count = _after(data, b"stsz", ">4xII")
    return Header("avif", width, height, is_animated=True, num_frames=max(count, 1))


def _read_jp2(data: bytes) -> Header:
    height, width = _after(data, b"ihdr", ">II")
    return Header("jp2", width, height)


def _after(data: bytes, box: bytes, form: str) -> tuple[int, int]:
    """Return both numbers behind a box's name; zeros where there is none."""
    start = data.find(box) + 4
    first, second = struct.unpack_from(form, data, start) if start >= 4 else (0, 0)
    return first, second


def _read_pnm(data: bytes) -> Header:
    size = re.match(rb"P[1-6](?:\s+|#[^\n]*\n)+(\d{1,9})\s+(\d{1,9})\s", data)
    return Header("pnm", int(size[1]), int(size[2])) if size else Header("pnm")


def _read_heic(_: bytes) -> Header:
    return Header("heic")


_READERS = (
    (rb"\xff\xd8\xff", _read_jpeg),
    (rb"\x89PNG\r\n\x1a\n", _read_png),
    (rb"BM.{4}\0\0\0\0", _read_bmp),
    (rb"RIFF.{4}WEBP", _read_webp),
    (rb"II\*\0|MM\0\*", _read_tiff),
    (rb".{4}ftypavi[fs]", _read_avif),
    (rb".{4}ftyp(hei[cxms]|hev[cxms])|.{4}ftypm[is]f1.{4,64}hei[cx]", _read_heic),
    (rb"\0\0\0\x0cjP  ", _read_jp2),
    (rb"P[1-6]\s", _read_pnm),
)
