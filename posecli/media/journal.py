"""The journal: one line a finished frame, flushed, so that a crash loses nothing that was done.

The first line says which run it is: `input` (`media.fingerprint`), `settings` (all that decides what is found in a
frame) and `info` for the files made from it. A last line with `end` says that it is complete; without it, the journal
is an interrupted run's. A flushed line survives the death of the process; that of the machine may cost the last ones.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from posecli.errors import InputError
from posecli.media.files import compact

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FORMAT = 2  # raised whenever a version of posecli writes other lines, or finds other poses with the same settings
_MAX_LINE = 1 << 28  # bytes; a longer line is no line of a journal

# What every frame's line has (`coco.frame_entry`).
_FIELDS = {"frame_index", "file_name", "width", "height", "time", "pts", "status", "refiner_runs", "people"}

Entry = dict[str, Any]


class Journal:
    """A journal that is being written. While it is open, no other process can open it."""

    def __init__(self, path: Path, header: Entry, *, resume: bool = False) -> None:
        """Start a journal, or go on with the one that is there.

        Args:
            path: the file; it is made if it is not there.
            header: `input`, `settings` and `info` of this run.
            resume: keep the frames of an interrupted run of the same input and settings; a torn end is cut off.

        Raises:
            InputError: another process writes it; with `resume`, it is another run's or no journal.
            OSError: the file cannot be written.
        """
        self.path = path
        self.finished = 0  # frames whose lines are there
        self._file: BinaryIO = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b", buffering=0)
        try:
            self._lock()
            self._end = self._keep(header) if resume else 0
            self._file.truncate(self._end)
            if not self._end:
                self._append({"journal": FORMAT, **header})
        except BaseException:
            self._file.close()
            raise

    def append(self, entry: Entry) -> None:
        """Write a frame's line, out of this process's hands when the call returns. A line is whole or not there."""
        self._append(entry)
        self.finished += 1

    def end(self, counts: Entry) -> None:
        """Write the last line: the run is complete."""
        self._append({"end": counts})

    def entries(self) -> Iterator[Entry]:
        """Read the frames from the first one on."""
        return islice(read_journal(self.path)[1], self.finished)

    def close(self) -> None:
        """Close the file; once more does no harm."""
        self._file.close()

    def discard(self) -> None:
        """Remove the file."""
        self.close()
        self.path.unlink(missing_ok=True)

    def _append(self, entry: Entry) -> None:
        line = f"{compact(entry)}\n".encode()
        self._file.seek(self._end)
        try:
            written = 0
            while written < len(line):
                written += self._file.write(line[written:])
        except BaseException:
            with suppress(OSError):
                self._file.truncate(self._end)
            raise
        self._end += len(line)

    def _lock(self) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{self.path}: another posecli is writing this source's files; wait for it, or choose another -o"
            ) from None
        except OSError:
            return  # a file system without locks

    def _keep(self, header: Entry) -> int:
        """Count the frames that can be kept; return where they end, 0 if there is nothing to go on with."""
        self._file.seek(0)
        lines = _lines(self._file)
        first = next(lines, None)
        if first is None:
            return 0  # empty, or a header that was not finished
        found = _parsed(first) or {}
        if "journal" not in found:
            raise InputError(f"{self.path}: not a journal that can be gone on with; start over with --restart")
        if differences := _differences(found, {"journal": FORMAT, **header}):
            raise InputError(
                f"{self.path}: the journal of another run: {'; '.join(differences)}. "
                "Resume as that run was started, or start over with --restart"
            )
        end = len(first)
        for line in lines:
            entry = _parsed(line)
            if entry is None or not entry.keys() >= _FIELDS:
                break
            self.finished += 1
            end += len(line)
        return end if self.finished else 0


def num_finished(path: Path) -> int | None:
    """Count the frames of an interrupted run's journal; None where there is no such journal or it is complete."""
    try:
        with path.open("rb") as file:
            lines = _lines(file)
            header, count = _parsed(next(lines, b"")), 0
            if header is None or "journal" not in header:
                return None
            for line in lines:
                if line.startswith(b'{"end":'):
                    return None
                count += 1
    except OSError:
        return None
    return count or None


def read_journal(path: Path) -> tuple[Entry, Iterator[Entry]]:
    """Return a journal's header and an iterator of its frames; a torn last line is left out.

    Raises:
        InputError: no such file, or not a journal.
    """
    entries = _entries(path)
    header = next(entries, None)
    if header is None or "info" not in header:
        raise InputError(f"{path}: not a journal; its first line should be a header")
    return header, (entry for entry in entries if "people" in entry)


def _entries(path: Path) -> Iterator[Entry]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(_lines(file), start=1):
                entry = _parsed(line)
                if entry is None:
                    raise InputError(f"{path}: line {number} is not a JSON object; not a journal, or a damaged one")
                yield entry
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield whole lines; the process may have died while writing the last one."""
    with os.fdopen(os.dup(file.fileno()), "rb") as reader:
        reader.seek(0)
        while (line := reader.readline(_MAX_LINE)).endswith(b"\n"):
            yield line


def _parsed(line: bytes) -> Entry | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _differences(found: Entry, wanted: Entry) -> list[str]:
    """Say in what two headers differ, without `info`, which follows from the rest."""
    old, new = _flat(found), _flat(wanted)
    names = [name for name in {**new, **old} if old.get(name) != new.get(name)]
    return [f"{name} was {_short(old.get(name))}, now {_short(new.get(name))}" for name in names]


def _flat(header: Entry) -> dict[str, Any]:
    flat: dict[str, Any] = {}

    def add(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                add(f"{prefix}.{key}", item)
        else:
            flat[prefix.removeprefix("settings.")] = list(value) if isinstance(value, tuple) else value

    for key in ("journal", "input", "settings"):
        add(key, header.get(key))
    return flat


def _short(value: Any) -> str:
    text = compact(value)
    return text if len(text) <= 20 else f"{text[:16]}..."
