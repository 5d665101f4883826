"""People as lines and tables: JSON lines by frame, CSV and Parquet by person."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from posecli.config import MergeConfig
from posecli.errors import ConfigError
from posecli.media.coco import frame_entry
from posecli.media.files import compact, part_path, put_in_place
from posecli.media.sinks import RecordSink
from posecli.records import Annotated
from posecli.skeleton import KEYPOINTS

Entry = dict[str, Any]

_FRAME_COLUMNS = ("image_id", "frame_index", "file_name", "time", "pts", "status", "width", "height")
_PERSON_COLUMNS = ("person", "track_id", "score", "bbox_x", "bbox_y", "bbox_width", "bbox_height", "origin")
_KEYPOINT_COLUMNS = tuple(f"{name}_{value}" for name in KEYPOINTS for value in ("x", "y", "score"))
COLUMNS = _FRAME_COLUMNS + _PERSON_COLUMNS + _KEYPOINT_COLUMNS
_TEXT, _WHOLE = (
    ("file_name", "status", "origin"),
    ("image_id", "frame_index", "pts", "width", "height", "person", "track_id"),
)
_BATCH_ROWS = 4096  # of a Parquet file, in memory


def frame_line(entry: Entry, *, image_id: int) -> Entry:
    """Return a frame with its people as a line of JSON has it; those who are nobody's have an empty list."""
    return {**_frame_values(entry, image_id), "people": entry["people"]}


def rows(entry: Entry, *, image_id: int) -> Iterator[tuple[Any, ...]]:
    """Yield a row by `COLUMNS` for each person; a frame with nobody has one without a person, so that none vanishes."""
    frame = tuple(_frame_values(entry, image_id).values())
    for number, person in enumerate(entry["people"], start=1):
        who = (number, person.get("track_id"), person["score"], *person["bbox"], person["origin"])
        yield (*frame, *who, *person["keypoints"])
    if not entry["people"]:
        yield frame + (None,) * (len(COLUMNS) - len(frame))


def _frame_values(entry: Entry, image_id: int) -> Entry:
    return {"image_id": image_id, **{name: entry[name] for name in _FRAME_COLUMNS[1:]}}


class _TextSink:
    """A text file of one source that grows by frames."""

    suffixes: ClassVar[tuple[str, ...]]

    def __init__(self, directory: Path, stem: str, info: Entry, merge: MergeConfig) -> None:
        self._path = directory / f"{stem}{self.suffixes[0]}"
        self._file = part_path(self._path).open("w", encoding="utf-8", errors="backslashreplace", newline="")
        self._num_images = 0

    def write(self, entry: Entry) -> None:
        """Add a frame."""
        self._num_images += 1
        self._add(entry, self._num_images)

    def _add(self, entry: Entry, image_id: int) -> None:
        raise NotImplementedError

    def finish(self) -> list[Path]:
        """Put the file in place."""
        self._file.close()
        put_in_place(part_path(self._path), self._path)
        return [self._path]

    def abort(self) -> None:
        """Remove what was written."""
        _remove(self._file, part_path(self._path))


class LinesSink(_TextSink):
    """`STEM.frames.jsonl`: a line of JSON for every frame, with its people."""

    suffixes: ClassVar[tuple[str, ...]] = (".frames.jsonl",)

    def _add(self, entry: Entry, image_id: int) -> None:
        self._file.write(compact(frame_line(entry, image_id=image_id)) + "\n")


class CsvSink(_TextSink):
    """`STEM.people.csv`: a row for every person, columns by `COLUMNS`, UTF-8, numbers with a point."""

    suffixes: ClassVar[tuple[str, ...]] = (".people.csv",)

    def __init__(self, directory: Path, stem: str, info: Entry, merge: MergeConfig) -> None:
        super().__init__(directory, stem, info, merge)
        self._table = csv.writer(self._file)
        self._table.writerow(COLUMNS)

    def _add(self, entry: Entry, image_id: int) -> None:
        self._table.writerows(rows(entry, image_id=image_id))


class ParquetSink:
    """`STEM.people.parquet`: the same rows with types, `info` in the schema's metadata under "posecli"."""

    suffixes: ClassVar[tuple[str, ...]] = (".people.parquet",)

    def __init__(self, directory: Path, stem: str, info: Entry, merge: MergeConfig) -> None:
        self._arrow, parquet = _pyarrow()
        self._path = directory / f"{stem}{self.suffixes[0]}"
        self._schema = self._arrow.schema(
            [(name, self._type(name)) for name in COLUMNS], metadata={"posecli": compact(info)}
        )
        self._writer = parquet.ParquetWriter(part_path(self._path), self._schema)
        self._rows: list[tuple[Any, ...]] = []
        self._num_images = 0

    def _type(self, name: str) -> Any:
        if name in _TEXT:
            return self._arrow.string()
        return self._arrow.int64() if name in _WHOLE else self._arrow.float64()

    def write(self, entry: Entry) -> None:
        """Add a frame's people."""
        self._num_images += 1
        self._rows += rows(entry, image_id=self._num_images)
        if len(self._rows) >= _BATCH_ROWS:
            self._flush()

    def _flush(self) -> None:
        arrays = [
            self._arrow.array([_utf8(value) for value in column], self._type(name))
            for name, column in zip(COLUMNS, zip(*self._rows, strict=True), strict=True)
        ]
        self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))
        self._rows.clear()

    def finish(self) -> list[Path]:
        """Put the file in place."""
        if self._rows:
            self._flush()
        self._writer.close()
        put_in_place(part_path(self._path), self._path)
        return [self._path]

    def abort(self) -> None:
        """Remove what was written."""
        _remove(self._writer, part_path(self._path))


class StdoutSink:
    """The lines of `LinesSink` on stdout, as frames are finished, each with its `source`."""

    def __init__(self, source: str) -> None:
        self._source, self._num_images = source, 0

    def write(self, annotated: Annotated) -> None:
        """Write a frame's line."""
        self._num_images += 1
        line = frame_line(frame_entry(annotated), image_id=self._num_images)
        sys.stdout.write(compact({"source": self._source, **line}) + "\n")
        sys.stdout.flush()

    def finish(self) -> list[Path]:
        """Say that there is no file."""
        return []

    def abort(self) -> None:
        """Leave what was said."""


_SINKS: dict[str, type[RecordSink]] = {"jsonl": LinesSink, "csv": CsvSink, "parquet": ParquetSink}


def table_sinks(names: Sequence[str]) -> list[type[RecordSink]]:
    """Return the sinks of RunOptions.formats."""
    return [_SINKS[name] for name in names]


def check_formats(names: Sequence[str]) -> None:
    """See before work starts that the formats can be written.

    Raises:
        ConfigError: Parquet without pyarrow.
    """
    if "parquet" in names:
        _pyarrow()


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow  # noqa: PLC0415 - an extra
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError:
        raise ConfigError("--format parquet needs pyarrow; pip install 'posecli[parquet]'") from None
    return pyarrow, pyarrow.parquet


def _utf8(value: Any) -> Any:
    """Escape the bytes of a file name that are not UTF-8."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _remove(file: Any, path: Path) -> None:
    with suppress(OSError):  # a full disk takes no last bytes
        file.close()
    path.unlink(missing_ok=True)
