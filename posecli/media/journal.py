"""The journal: one line a finished frame, flushed, so that a crash loses nothing that was done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from posecli.errors import InputError

Entry = dict[str, Any]


def compact(value: object) -> str:
    """Return JSON without spaces or line breaks; NaN has no place in it."""
    return _encodable(json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False))


def readable(value: object) -> str:
    """Return JSON for people to look at, with a line break at the end."""
    return _encodable(json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False)) + "\n"


def _encodable(text: str) -> str:
    """Escape the lone surrogates that stand for bytes of a file name that are not UTF-8, as JSON does."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


class Journal:
    """An append-only file of JSON lines; the first says what the run is."""

    def __init__(self, path: Path, header: Entry) -> None:
        self.path = path
        self._file = path.open("w", encoding="utf-8")
        self.append(header)

    def append(self, entry: Entry) -> None:
        """Write one line, out of this process's hands when the call returns."""
        self._file.write(compact(entry) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file; once more does no harm."""
        self._file.close()


def read_journal(path: Path) -> tuple[Entry, Iterator[Entry]]:
    """Return a journal's header and an iterator of its frames; a torn last line is left out.

    Raises:
        InputError: no such file, or not a journal.
    """
    entries = _entries(path)
    header = next(entries, None)
    if not isinstance(header, dict) or "info" not in header:
        raise InputError(f"{path}: not a journal; its first line should be a header")
    return header, entries


def _entries(path: Path) -> Iterator[Entry]:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:  # a line may be torn inside of a letter
            for number, line in enumerate(file, start=1):
                if not line.endswith("\n"):
                    return  # the process died while writing it
                try:
                    entry = json.loads(line)
                except ValueError as error:
                    raise InputError(f"{path}: line {number} is not JSON ({error})") from error
                yield entry
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
