"""Where annotated frames go: written as they come, finished by a rename, so that no half file bears a final name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol, TextIO

import av
import cv2
import numpy as np
from av.container import OutputContainer

from posecli.config import MergeConfig
from posecli.errors import InputError
from posecli.media.audio import AudioTrack
from posecli.media.coco import annotation_entry, categories, frame_entry, image_entry, result_entry
from posecli.media.images import IMAGE_SUFFIXES
from posecli.media.journal import Journal, compact, read_journal, readable
from posecli.media.overlay import draw
from posecli.media.sources import Source, VideoSource
from posecli.records import Annotated

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

    def __init__(self, directory: Path, source: Source, *, explain: bool = False) -> None:
        self._explain, self._single = explain, source.kind == "image"
        self._folder = directory if self._single else directory / f"{source.stem}.overlay"
        self._stem = source.stem
        self._output = self._folder

    def write(self, annotated: Annotated) -> None:
        """Draw and save one picture, in its source's format."""
        frame = annotated.frame
        if frame.image is None:
            return
        drawn = draw(frame.image.numpy(), annotated.poses, rejections=annotated.rejections if self._explain else ())
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


class VideoOverlay:
    """`STEM.overlay.mp4`: H.264 with the source's own time stamps, its audio copied."""

    def __init__(self, directory: Path, source: VideoSource, *, explain: bool = False) -> None:
        self._path = directory / f"{source.stem}.overlay.mp4"
        self._temporary = directory / f".{source.stem}.{os.getpid()}.overlay.mp4"
        self._source, self._explain = source, explain
        self._output: OutputContainer | None = None
        self._stream: Any = None
        self._audio: AudioTrack | None = None
        self._last_pts: int | None = None

    def write(self, annotated: Annotated) -> None:
        """Draw and encode one frame; a frame that was not decoded shows as the one before lasting longer."""
        frame = annotated.frame
        if frame.image is None:
            return
        drawn = draw(frame.image.numpy(), annotated.poses, rejections=annotated.rejections if self._explain else ())
        if self._output is None:
            with _encoding(self._path):
                self._open(drawn.shape[1], drawn.shape[0])
        picture = av.VideoFrame.from_ndarray(self._fit(drawn), format="rgb24")
        pts = frame.pts if frame.pts is not None else (self._last_pts or 0) + 1
        if self._last_pts is not None and pts <= self._last_pts:
            pts = self._last_pts + 1  # encoders refuse time that stands still
        self._last_pts = pts
        picture.pts, picture.time_base = pts, self._source.time_base
        with _encoding(self._path):
            self._mux(self._stream.encode(picture))

    def _open(self, width: int, height: int) -> None:
        source = self._source
        self._output = av.open(str(self._temporary), "w", format="mp4", options={"movflags": "+faststart"})
        rate = source.frame_rate or Fraction(25)
        self._stream = self._output.add_stream("libx264", rate=rate, options={"crf": "23", "preset": "veryfast"})
        self._stream.width, self._stream.height = width + width % 2, height + height % 2
        self._stream.pix_fmt = "yuv420p"
        if source.time_base is not None:
            self._stream.time_base = self._stream.codec_context.time_base = source.time_base
        if source.pixel_aspect:
            self._stream.codec_context.sample_aspect_ratio = source.pixel_aspect
        self._audio = AudioTrack(source.path, self._output)

    def _fit(self, drawn: np.ndarray) -> np.ndarray:
        """Bring a picture to the stream's even size: one more row or column; a changed resolution is scaled."""
        height, width = drawn.shape[:2]
        wanted_wh = (self._stream.width, self._stream.height)
        if (width, height) == wanted_wh:
            return drawn
        if wanted_wh[0] - width in {0, 1} and wanted_wh[1] - height in {0, 1}:
            return np.pad(drawn, ((0, wanted_wh[1] - height), (0, wanted_wh[0] - width), (0, 0)), mode="edge")
        return np.ascontiguousarray(cv2.resize(drawn, wanted_wh))

    def _mux(self, packets: Any) -> None:
        for packet in packets:
            if self._output is not None and self._audio is not None:
                self._audio.mux_until(float(packet.dts * packet.time_base))
                self._output.mux(packet)

    def finish(self, counts: dict[str, int | None]) -> list[Path]:
        """Flush the encoder, bring the rest of the audio, and rename."""
        if self._output is None:
            return []
        with _encoding(self._path):
            self._mux(self._stream.encode(None))
            if self._audio is not None:
                self._audio.finish()
            self._close()
        with self._temporary.open("rb") as file:
            os.fsync(file.fileno())
        self._temporary.replace(self._path)
        return [self._path]

    def abort(self) -> None:
        """Remove the unfinished video."""
        with suppress(av.FFmpegError, OSError):
            self._close()
        self._temporary.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._output is not None:
            output, self._output = self._output, None
            if self._audio is not None:
                self._audio.close()
            output.close()


@contextmanager
def _encoding(path: Path) -> Iterator[None]:
    """Turn what FFmpeg cannot encode into an InputError; a full disk stays an OSError."""
    try:
        yield
    except av.FFmpegError as error:
        if isinstance(error, OSError):
            raise
        raise InputError(f"{path}: the overlay cannot be encoded ({error.strerror}); use --no-overlay") from error


def overlay_sink(directory: Path, source: Source, *, explain: bool = False) -> Sink:
    """Return the overlay that suits a source: pictures for pictures, a video for a video."""
    if isinstance(source, VideoSource):
        return VideoOverlay(directory, source, explain=explain)
    return PictureOverlay(directory, source, explain=explain)
