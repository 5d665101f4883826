"""What tells one input from another: sizes and contents, never times or places, which copies do not keep."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from posecli.media.files import compact
from posecli.media.locations import is_live, is_url, shown

_BLOCK = 1 << 20  # bytes
_BLOCKS = 16  # of a large file, evenly spread, the first and the last among them


def fingerprint(path: Path | str, images: Sequence[Path] = ()) -> dict[str, Any]:
    """Return what tells this input from every other, as JSON.

    A file up to 16 MiB counts with all of its bytes, a larger one with its size and 16 blocks of 1 MiB, evenly spread
    from the first byte to the last: a change that keeps the size and all of these blocks goes unseen. A folder counts
    with the names, sizes and bytes of its images in their order. A server's address or a camera counts with its name
    alone, of which nothing secret is told.

    Args:
        path: what is read.
        images: a folder's images.

    Raises:
        OSError: something cannot be read.
    """
    if is_url(path) or is_live(path):
        return {"address": shown(path), "sha256": hashlib.sha256(os.fsencode(path)).hexdigest()}
    path = Path(path)
    if images:
        files = [(image.relative_to(path).as_posix(), *_size_and_digest(image)) for image in images]
        return {"images": len(files), "sha256": hashlib.sha256(compact(files).encode()).hexdigest()}
    size, digest = _size_and_digest(path)
    return {"bytes": size, "sha256": digest}


def digest(value: object) -> str:
    """Return the SHA-256 of something made of JSON's types, whatever the order of its keys."""
    return hashlib.sha256(compact(_sorted(value)).encode()).hexdigest()


def _sorted(value: object) -> object:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list | tuple) else value


def _size_and_digest(path: Path) -> tuple[int, str]:
    sha = hashlib.sha256()
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        last = size - _BLOCK
        starts = [last * index // (_BLOCKS - 1) for index in range(_BLOCKS)]
        for start in starts if size > _BLOCK * _BLOCKS else range(0, size, _BLOCK):
            file.seek(start)
            sha.update(file.read(_BLOCK))
    return size, sha.hexdigest()
