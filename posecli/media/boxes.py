"""Boxes of people that the user brings: COCO results or a COCO dataset, found again for each frame."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TypeAlias

import torch
from torch import Tensor

from posecli.errors import InputError
from posecli.geometry.boxes import xywh_to_xyxy
from posecli.media.checked_json import Record, checked_object, integer, is_number, numbers, read_json, shown
from posecli.records import Frame

Key: TypeAlias = tuple[str, int | str]  # what names a picture, and the name

_LAYOUT = "x, y, width, height in pixels"
_KEYS = (
    ("file_name", (str,), "a text"),
    ("frame_index", (int,), "an integer"),
    ("image_id", (int, str), "an integer, or a file name"),
)


class BoxFile:
    """The boxes of every picture, by what the file calls the picture.

    A frame is looked up by its file name first, as the images of a dataset, or the entries of a list, give it. Entries
    without file names go by `frame_index`, or by `image_id`: that of the ground truth which is evaluated on; else the
    number that a picture's file name consists of, as COCO's do; else the frame's index plus 1, as in posecli's files.

    Attributes:
        path: where it was read from.
        sha256: of the file, in hex.
        missing: frames asked for that the file knows nothing of; they have no people.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.missing = path, 0
        self._counting = threading.Lock()  # batches are annotated side by side
        data = read_json(path)
        self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        if isinstance(data, dict):
            self._boxes = _of_dataset(data, str(path))
        elif isinstance(data, list):
            self._boxes = _of_results(data, str(path))
        else:
            raise InputError(f"{path}: {shown(data)}, wanted COCO results (a list) or a COCO dataset (an object)")
        self._by_last_part = _unique_last_parts(self._boxes)

    @property
    def names_files(self) -> bool:
        """Whether pictures go by file names: numbers alone cannot tell the frames of several sources apart."""
        return any(kind == "file_name" for kind, _ in self._boxes)

    def __call__(self, frames: Sequence[Frame]) -> list[tuple[Tensor, Tensor] | None]:
        """Return each frame's (P, 4) boxes, xyxy in its pixels, and (P,) scores; None where the file has no entry."""
        return [self._of(frame) for frame in frames]

    def _of(self, frame: Frame) -> tuple[Tensor, Tensor] | None:
        rows = next((self._boxes[key] for key in self._keys(frame) if key in self._boxes), None)
        if rows is None:
            with self._counting:
                self.missing += 1
            return None
        table = torch.tensor(rows, dtype=torch.float64).view(-1, 5)
        return xywh_to_xyxy(table[:, :4]).float(), table[:, 4].float()

    def _keys(self, frame: Frame) -> list[Key]:
        """Return what the file may call a frame, surest first."""
        keys: list[Key] = [("file_name", frame.file_name)]
        if frame.file_name in self._by_last_part:
            keys.append(("file_name", self._by_last_part[frame.file_name]))
        keys.append(("frame_index", frame.index))
        stem = PurePosixPath(frame.file_name).stem
        if frame.image_id is not None:
            keys.append(("image_id", frame.image_id))
        elif stem.isascii() and stem.isdigit():
            keys.append(("image_id", int(stem)))
        else:
            keys.append(("image_id", frame.index + 1))
        return keys


def _unique_last_parts(boxes: dict[Key, list[list[float]]]) -> dict[str, str]:
    """Map `b.jpg` to `a/b.jpg` where only one picture's name ends so: a picture given alone has no folder."""
    found: dict[str, list[str]] = {}
    for kind, name in boxes:
        if kind == "file_name" and isinstance(name, str):
            found.setdefault(PurePosixPath(name).name, []).append(name)
    return {last: names[0] for last, names in found.items() if len(names) == 1}


def _of_results(entries: list[object], name: str) -> dict[Key, list[list[float]]]:
    """Sort a results list; entries of other categories than 1 (person) are left out."""
    boxes: dict[Key, list[list[float]]] = {}
    for index, value in enumerate(entries):
        where = f"{name}: [{index}]"
        record = checked_object(value, where)
        if "category_id" in record and integer(record, "category_id", where) != 1:
            continue
        boxes.setdefault(_key(record, where), []).append(_row(record, where))
    return boxes


def _key(record: Record, where: str) -> Key:
    for kind, types, wanted in _KEYS:
        if kind in record:
            value = record[kind]
            if type(value) not in types:  # True is an int, too
                raise InputError(f"{where}: {kind} is {shown(value)}, wanted {wanted}")
            return ("file_name", value) if isinstance(value, str) else (kind, value)
    raise InputError(f"{where}: no image_id, file_name or frame_index to say which picture it is")


def _row(record: Record, where: str) -> list[float]:
    """Return x, y, width, height, score; without a score a box is sure."""
    box = numbers(record, "bbox", 4, where, layout=_LAYOUT)
    if min(box[2:]) < 0:
        raise InputError(f"{where}: bbox has width {shown(box[2])} and height {shown(box[3])}, wanted 0 or more")
    score = record.get("score", 1.0)
    if not is_number(score) or not 0 <= score <= 1:
        raise InputError(f"{where}: score is {shown(score)}, wanted a number in [0, 1]")
    return [*box, score]


def _of_dataset(dataset: Record, name: str) -> dict[Key, list[list[float]]]:
    """Sort a dataset's annotations of people, crowds left out; pictures without any are known to be empty."""
    for part in ("images", "annotations"):
        if not isinstance(dataset.get(part), list):
            raise InputError(f"{name}: no list of {part}, wanted COCO results (a list) or a COCO dataset with both")
    boxes: dict[Key, list[list[float]]] = {}
    of_image: dict[int, list[list[float]]] = {}
    for index, value in enumerate(dataset["images"]):
        where = f"{name}: images[{index}]"
        image = checked_object(value, where)
        image_id = integer(image, "id", where)
        key = _key({kind: image[kind] for kind in ("file_name", "frame_index") if kind in image}, where)
        if image_id in of_image or key in boxes:
            twice = f"id {image_id}" if image_id in of_image else f"{key[0]} {shown(key[1])}"
            raise InputError(f"{where}: {twice} is there twice; every image needs its own")
        of_image[image_id] = boxes[key] = []
    person = person_category(dataset, name)
    for index, value in enumerate(dataset["annotations"]):
        where = f"{name}: annotations[{index}]"
        record = checked_object(value, where)
        if record.get("category_id", person) != person or record.get("iscrowd"):
            continue
        if (image_id := integer(record, "image_id", where)) not in of_image:
            raise InputError(f"{where}: image_id {image_id} is not among the images")
        of_image[image_id].append(_row(record, where))
    return boxes


def person_category(dataset: Record, name: str) -> int:
    """Return the id of the category called person, or of the only one; 1 where there are none."""
    values = dataset.get("categories") or []
    if not isinstance(values, list):
        raise InputError(f"{name}: categories is {shown(values)}, wanted a list")
    categories = [checked_object(value, f"{name}: categories[{index}]") for index, value in enumerate(values)]
    people = [category for category in categories if category.get("name") == "person"] or categories
    if len(people) > 1:
        raise InputError(f"{name}: no category is called person: which of {len(people)} is it?")
    return integer(people[0], "id", f"{name}: categories") if people else 1
