"""The people of a COCO dataset file, found again for each frame of the video or folder that it is about."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TypeAlias

import torch

from posecli.errors import InputError
from posecli.geometry.boxes import xywh_to_xyxy
from posecli.media.boxes import person_category
from posecli.media.checked_json import (
    Record,
    checked_object,
    integer,
    is_number,
    number,
    numbers,
    read_json,
    shown,
    text,
)
from posecli.records import Annotated, Frame, Poses, Rejection
from posecli.skeleton import NUM_KEYPOINTS

Key: TypeAlias = tuple[str, int | str]  # what names a picture, and the name

_LAYOUT = "x, y, width, height in pixels"
_MAX_REASON = 40  # letters
_FOREIGN_SCORES = (0.0, 0.3, 1.0)  # of a keypoint without one, by its v: hidden ones are drawn fainter


class PoseFile:
    """Gives each frame its people, and sees that file and frames belong together.

    Attributes:
        path: where it was read from.
        info: what the file says of itself.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        dataset = checked_object(read_json(path), str(path))
        for part in ("images", "annotations"):
            if not isinstance(dataset.get(part), list):
                raise InputError(f"{path}: no list of {part}, wanted a COCO dataset, as STEM.coco.json is")
        info = dataset.get("info")
        self.info: Record = info if isinstance(info, dict) else {}
        self._images: dict[int, Record] = {}
        self._ids: dict[Key, int] = {}
        self._read_images(dataset["images"])
        self._people: dict[int, list[Record]] = {}
        self._read_people(dataset)
        self._met: set[int] = set()

    def __call__(self, frame: Frame) -> Annotated | None:
        """Return a frame with its people; None for a frame that the file does not have.

        Raises:
            InputError: the file has this frame with another size or time stamp, so it is about something else.
        """
        image_id = next((self._ids[key] for key in _keys_of(frame) if key in self._ids), None)
        if image_id is None:
            return None
        image = self._images[image_id]
        self._met.add(image_id)
        if frame.image is not None and (image["width"], image["height"]) != (frame.width, frame.height):
            found = f"{frame.width}x{frame.height}"
            raise InputError(f"{self.path}: {_named(image)} is {image['width']}x{image['height']}, this one {found}")
        if None not in (frame.pts, image.get("pts")) and frame.pts != image["pts"]:
            raise InputError(f"{self.path}: {_named(image)} has the time stamp {image['pts']}, this one {frame.pts}")
        poses = _poses(self._people.get(image_id, []))
        return Annotated(frame, poses, refiner_runs=0, rejections=image["rejections"])

    def check_all_met(self) -> None:
        """See, after the last frame, that the source had all frames of the file.

        Raises:
            InputError: it had not.
        """
        missing = self._images.keys() - self._met
        if missing:
            first = _named(self._images[min(missing)])
            count = f"{len(missing)} of {len(self._images)} frames"
            raise InputError(f"{self.path}: {count} are not in the source, first {first}; it is about something else")

    def _read_images(self, images: list[object]) -> None:
        for index, value in enumerate(images):
            where = f"{self.path}: images[{index}]"
            image = checked_object(value, where)
            image_id = integer(image, "id", where)
            if image_id in self._images:
                raise InputError(f"{where}: id {image_id} is there twice; every image needs its own")
            for name in ("width", "height"):
                integer(image, name, where)
            if image.get("pts") is not None:
                integer(image, "pts", where)
            self._images[image_id] = {**image, "rejections": _rejections(image, where)}
            for key in _keys(image, where):
                self._ids.setdefault(key, image_id)

    def _read_people(self, dataset: Record) -> None:
        person = person_category(dataset, str(self.path))
        for index, value in enumerate(dataset["annotations"]):
            where = f"{self.path}: annotations[{index}]"
            record = checked_object(value, where)
            if record.get("category_id", person) != person or record.get("iscrowd") or "keypoints" not in record:
                continue
            if (image_id := integer(record, "image_id", where)) not in self._images:
                raise InputError(f"{where}: image_id {image_id} is not among the images")
            self._people.setdefault(image_id, []).append(_person(record, where))


def _keys(image: Record, where: str) -> list[Key]:
    """Return what a frame may be found by: its place in a video, or a picture's name."""
    if image.get("frame_index") is not None and image.get("pts") is not None:
        return [("frame_index", integer(image, "frame_index", where))]
    name = image.get("file_name")
    if not isinstance(name, str):
        raise InputError(f"{where}: file_name is {shown(name)}, wanted a text")
    return [("file_name", name), ("file_name", name.rpartition("/")[2])]


def _keys_of(frame: Frame) -> list[Key]:
    """Return what a file may call a frame, surest first. Other tools know a video's frames by names alone."""
    named: list[Key] = [("file_name", frame.file_name)]
    return named if frame.pts is None else [("frame_index", frame.index), *named]


def _rejections(image: Record, where: str) -> tuple[Rejection, ...]:
    """Return what was dropped, which `infer --explain` writes."""
    values = image.get("rejections", [])
    if not isinstance(values, list):
        raise InputError(f"{where}: rejections is {shown(values)}, wanted a list")
    found = []
    for index, value in enumerate(values):
        place = f"{where}: rejections[{index}]"
        record = checked_object(value, place)
        left, top, width, height = numbers(record, "bbox", 4, place, layout=_LAYOUT)
        box = (left, top, left + width, top + height)
        found.append(Rejection(box, number(record, "box_score", place), text(record, "reason", place)[:_MAX_REASON]))
    return tuple(found)


def _named(image: Record) -> str:
    name = image.get("file_name")
    return shown(name) if isinstance(name, str) else f"image {image['id']}"


def _person(record: Record, where: str) -> Record:
    """Check what is drawn of an annotation, and take it out. A keypoint without label gets no place."""
    flat = numbers(record, "keypoints", 3 * NUM_KEYPOINTS, where, layout="x, y, v of 17 keypoints")
    if wrong := [v for v in flat[2::3] if v not in (0, 1, 2)]:
        raise InputError(f"{where}: a keypoint's v is {shown(wrong[0])}, wanted 0, 1 or 2")
    attributes = record.get("attributes")
    attributes = attributes if isinstance(attributes, dict) else {}
    if "keypoint_scores" in attributes:
        scores = numbers(attributes, "keypoint_scores", NUM_KEYPOINTS, f"{where}: attributes", layout="scores")
    else:
        scores = [_FOREIGN_SCORES[int(v)] for v in flat[2::3]]
    score = record.get("score", 1.0)
    if not is_number(score):
        raise InputError(f"{where}: score is {shown(score)}, wanted a number")
    track_id = attributes.get("track_id")
    return {
        "bbox": numbers(record, "bbox", 4, where, layout=_LAYOUT),
        "points": [(x, y) if v else (math.nan, math.nan) for x, y, v in zip(*[iter(flat)] * 3, strict=True)],
        "scores": scores,
        "score": score,
        "track_id": track_id if type(track_id) is int else None,
    }


def _poses(people: list[Record]) -> Poses:
    if not people:
        return Poses.empty()
    tracks = tuple(person["track_id"] for person in people if person["track_id"] is not None)
    return Poses(
        boxes=xywh_to_xyxy(torch.tensor([person["bbox"] for person in people], dtype=torch.float32)),
        keypoints=torch.tensor([person["points"] for person in people], dtype=torch.float32),
        keypoint_scores=torch.tensor([person["scores"] for person in people], dtype=torch.float32),
        scores=torch.tensor([person["score"] for person in people], dtype=torch.float32),
        track_ids=tracks if len(tracks) == len(people) else (),
    )
