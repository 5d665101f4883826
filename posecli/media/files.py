"""Files that are there as a whole or not at all, and their hashes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def compact(value: object) -> str:
    """Return JSON without spaces or line breaks; NaN has no place in it."""
    return _encodable(json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False))


def readable(value: object) -> str:
    """Return JSON for people to look at, with a line break at the end."""
    return _encodable(json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False)) + "\n"


def _encodable(text: str) -> str:
    """Escape the lone surrogates that stand for bytes of a file name that are not UTF-8, as JSON does."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def part_path(path: Path) -> Path:
    """Return the hidden name beside `path` that it bears while it is written.

    The name is always the same, so that what a killed process left is written over and not left behind for good. Who
    writes a source's files holds the lock of its journal, so that no two write one file.
    """
    return path.with_name(f".{path.name}.part")


@contextmanager
def replacing(path: Path, temporary: Path | None = None) -> Iterator[Path]:
    """Give a temporary name beside `path`; when the body ends well, the file takes its place."""
    temporary = temporary or part_path(path)
    try:
        yield temporary
        put_in_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def put_in_place(temporary: Path, path: Path) -> None:
    """Rename a finished file, once it has reached the disk."""
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def write_json_atomically(path: Path, value: object) -> None:
    """Write a small JSON file that has no lock, whole or not at all."""
    with replacing(path, path.with_name(f".{path.name}.{os.getpid()}.part")) as temporary:
        temporary.write_text(readable(value), encoding="utf-8")


def sha256(path: Path) -> str:
    """Return a file's SHA-256 in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
