"""Where annotated frames go: written as they come, finished by a rename, so that no half file bears a final name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TextIO

import cv2

from posecli.config import MergeConfig, OverlayConfig
from posecli.errors import InputError
from posecli.media.coco import annotation_entry, categories, frame_entry, image_entry, result_entry
from posecli.media.images import IMAGE_SUFFIXES
from posecli.media.journal import Journal, compact, read_journal, readable
from posecli.media.overlay import draw
from posecli.media.sources import Source, VideoSource
from posecli.media.video_overlay import VideoOverlay
from posecli.records import Annotated

_PLAIN = OverlayConfig()
_COLOUR_SUFFIXES = tuple(suffix for suffix in IMAGE_SUFFIXES if suffix not in {".pbm", ".pgm"})


class Sink(Protocol):
    """One kind of output of one source."""

    def write(self, annotated: Annotated) -> None:
        """Take the next frame."""

    def finish(self, counts: dict[str, int | None]) -> list[Path]:
        """Make the final files, and say which.

        Args:
            counts: `decoded_frames` and `header_frames`.
        """

    def abort(self) -> None:
        """Leave no half file behind; a journal stays."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; when the body ends well, the file takes its place."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json_atomically(path: Path, value: object) -> None:
    """Write a small JSON file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(readable(value), encoding="utf-8")


class CocoSink:
    """`STEM.coco.json` (dataset) and `STEM.results.json`, both made from the journal `STEM.jsonl` at the end."""

    def __init__(
        self,
        directory: Path,
        stem: str,
        info: dict[str, Any],
        *,
        keep_journal: bool = False,
        explain: bool = False,
        merge: MergeConfig | None = None,
    ) -> None:
        self.dataset, self.results = directory / f"{stem}.coco.json", directory / f"{stem}.results.json"
        self._info, self._keep, self._explain = info, keep_journal, explain
        self._merge = merge or MergeConfig()
        self._empty = True
        self._journal = Journal(directory / f"{stem}.jsonl", {"info": info})

    def write(self, annotated: Annotated) -> None:
        """Append the frame to the journal."""
        self._journal.append(frame_entry(annotated, explain=self._explain))
        self._empty = False

    def finish(self, counts: dict[str, int | None]) -> list[Path]:
        """Make both files in streaming passes over the journal: memory does not grow with the source."""
        self._journal.close()
        journal = self._journal.path
        with replacing(self.dataset) as temporary, temporary.open("w", encoding="utf-8") as file:
            _write_dataset(file, journal, {**self._info, **counts}, self._merge)
        with replacing(self.results) as temporary, temporary.open("w", encoding="utf-8") as file:
            _write_results(file, journal)
        if self._keep:
            return [self.dataset, self.results, journal]
        journal.unlink()
        return [self.dataset, self.results]

    def abort(self) -> None:
        """Close the journal and leave it, if there is anything in it."""
        self._journal.close()
        if self._empty:
            self._journal.path.unlink(missing_ok=True)


def _write_dataset(file: TextIO, journal: Path, info: dict[str, Any], merge: MergeConfig) -> None:
    file.write(f'{{"info":{compact(info)},\n"licenses":[],\n"categories":{compact(categories())},\n"images":[')
    _write_items(file, (image_entry(entry, image_id=image) for image, entry in _numbered(journal)))
    file.write('],\n"annotations":[')
    people = ((image, person) for image, entry in _numbered(journal) for person in entry["people"])
    entries = (
        annotation_entry(person, annotation_id=number, image_id=image, merge=merge)
        for number, (image, person) in enumerate(people, start=1)
    )
    _write_items(file, entries)
    file.write("]}\n")


def _write_results(file: TextIO, journal: Path) -> None:
    file.write("[")
    _write_items(
        file,
        (result_entry(person, image_id=image) for image, entry in _numbered(journal) for person in entry["people"]),
    )
    file.write("]\n")


def _numbered(journal: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the frames with their image ids: dense also where only some of the source's frames were read."""
    return enumerate(read_journal(journal)[1], start=1)


def _write_items(file: TextIO, items: Iterator[dict[str, Any]]) -> None:
    for number, item in enumerate(items):
        file.write(("," if number else "") + "\n" + compact(item))


class PictureOverlay:
    """Drawn pictures: `STEM.overlay.SUFFIX` for one, a folder `STEM.overlay/` of the same names for several."""

    def __init__(
        self, directory: Path, source: Source, *, config: OverlayConfig = _PLAIN, explain: bool = False
    ) -> None:
        self._config, self._explain, self._single = config, explain, source.kind == "image"
        self._folder = directory if self._single else directory / f"{source.stem}.overlay"
        self._stem = source.stem
        self._output = self._folder

    def write(self, annotated: Annotated) -> None:
        """Draw and save one picture, in its source's format."""
        frame = annotated.frame
        if frame.image is None:
            return
        rejections = annotated.rejections if self._explain else ()
        drawn = draw(frame.image.numpy(), annotated.poses, config=self._config, rejections=rejections)
        name = Path(frame.file_name)
        if name.suffix.lower() not in _COLOUR_SUFFIXES:  # or an image by its content, whatever its name
            name = name.with_name(f"{name.name}.png")
        path = self._folder / (f"{self._stem}.overlay{name.suffix}" if self._single else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        written, data = cv2.imencode(path.suffix, cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
        if not written:
            size = f"{drawn.shape[1]}x{drawn.shape[0]} pixels"
            raise InputError(f"{path}: OpenCV cannot write {size} in this format; use --no-overlay")
        with replacing(path) as temporary:
            temporary.write_bytes(data.tobytes())
        self._output = path if self._single else self._folder

    def finish(self, counts: dict[str, int | None]) -> list[Path]:
        """Name the picture, or the folder."""
        return [self._output]

    def abort(self) -> None:
        """Every picture written is whole; they stay."""


def overlay_sink(directory: Path, source: Source, *, config: OverlayConfig = _PLAIN, explain: bool = False) -> Sink:
    """Return the overlay that suits a source: pictures for pictures, a video for a video."""
    if isinstance(source, VideoSource):
        return VideoOverlay(directory, source, config=config, explain=explain)
    return PictureOverlay(directory, source, config=config, explain=explain)
