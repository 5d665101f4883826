"""The COCO files of a source: a dataset that annotation tools open, and a results list that COCO evaluation reads."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, ClassVar, TextIO

from posecli.config import MergeConfig
from posecli.media.coco import annotation_entry, categories, image_entry, result_entry
from posecli.media.files import compact, part_path, put_in_place

_MAX_INFO = 1 << 22  # characters of a dataset's first line
_START, _END = '{"info":', ",\n"


class CocoSink:
    """`STEM.coco.json` (dataset) and `STEM.results.json`, written while frames come: no frame is kept in memory."""

    suffixes: ClassVar[tuple[str, ...]] = (".results.json", ".coco.json")

    def __init__(self, directory: Path, stem: str, info: dict[str, Any], merge: MergeConfig) -> None:
        self._results_path, self._dataset_path = (directory / f"{stem}{suffix}" for suffix in self.suffixes)
        self._merge = merge
        self._num_images = self._num_people = 0
        with ExitStack() as stack:
            self._dataset = _open_part(stack, self._dataset_path)
            self._annotations = _open_part(stack, directory / f"{stem}.annotations")  # until all images are written
            self._results = _open_part(stack, self._results_path)
            self._dataset.write(f'{_START}{compact(info)}{_END}"licenses":[],\n')
            self._dataset.write(f'"categories":{compact(categories())},\n"images":[')
            self._results.write("[")
            self._files = stack.pop_all()

    def write(self, entry: dict[str, Any]) -> None:
        """Add a frame. Ids are dense and start at 1: the frame's place in the file is its image id."""
        self._num_images += 1
        _add(self._dataset, image_entry(entry, image_id=self._num_images), first=self._num_images == 1)
        for person in entry["people"]:
            self._num_people += 1
            first = self._num_people == 1
            ids = {"annotation_id": self._num_people, "image_id": self._num_images}
            _add(self._annotations, annotation_entry(person, **ids, merge=self._merge), first=first)
            _add(self._results, result_entry(person, image_id=self._num_images), first=first)

    def finish(self) -> list[Path]:
        """Put both files in place, the dataset last: once it is there, the source is done."""
        with self._files:
            self._dataset.write('],\n"annotations":[')
            self._annotations.seek(0)
            shutil.copyfileobj(self._annotations, self._dataset)
            self._dataset.write("]}\n")
            self._results.write("]\n")
            for file, path in ((self._results, self._results_path), (self._dataset, self._dataset_path)):
                file.flush()
                put_in_place(part_path(path), path)
        return [self._results_path, self._dataset_path]

    def abort(self) -> None:
        """Remove what was written."""
        with suppress(OSError):  # a full disk takes no last bytes
            self._files.close()


def read_info(dataset: Path) -> dict[str, Any] | None:
    """Return the `info` of a dataset that `CocoSink` wrote without reading the rest; None for any other file."""
    try:
        with dataset.open(encoding="utf-8", errors="replace") as file:
            first = file.readline(_MAX_INFO)
        info = json.loads(first.removeprefix(_START).removesuffix(_END))
    except (OSError, ValueError):
        return None
    return info if isinstance(info, dict) and first.startswith(_START) else None


def _open_part(stack: ExitStack, path: Path) -> TextIO:
    """Open the hidden file beside `path` for writing; when the stack is left, it is gone unless it was put in place."""
    part = part_path(path)
    stack.callback(part.unlink, missing_ok=True)
    return stack.enter_context(part.open("w+", encoding="utf-8"))


def _add(file: TextIO, item: dict[str, Any], *, first: bool) -> None:
    file.write(("\n" if first else ",\n") + compact(item))
