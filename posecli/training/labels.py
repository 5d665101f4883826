"""Who is on a dataset's pictures: people's labels, and beside them what a network says, checked.

`DatasetConfig.pseudo` may name two kinds of files. A list of {annotation_id, keypoints} with x, y and score of each
keypoint is another network's word on the dataset's own people. What `posecli infer` wrote for the same pictures,
`STEM.coco.json`, has people of its own: they are matched with the dataset's by box, or, where there are no annotations,
are all the people there are. So a network trains on what it, or a larger one, has found: on people whom nobody gave
keypoints, on pictures that nobody has looked at, and on videos.

Source: CCM section 4.2, which keeps detections and keypoints above a score each; Radosavovic et al., "Data
Distillation", CVPR 2018.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from posecli.config import DatasetConfig
from posecli.errors import InputError
from posecli.geometry.boxes import pairwise_iou, xywh_to_xyxy
from posecli.media.checked_json import Record, checked_object, integer, number, numbers, read_json, shown, text
from posecli.skeleton import NUM_KEYPOINTS

_SAME_PERSON = 0.5  # IoU from which a found box is an annotated person's


@dataclass(frozen=True)
class Labels:
    """One dataset."""

    images: tuple[Record, ...]
    people: dict[int, list[Record]]  # annotations by image id, crowds included
    guesses: dict[int, np.ndarray]  # (K, 3) x, y, score of another network by annotation id

    def crop_people(self, config: DatasetConfig) -> dict[int, list[Record]]:
        """Return those who make crops, by image id, the first `max_people` of the file."""
        least = config.min_pseudo_keypoints
        sure = {key: int((guess[:, 2] >= config.min_pseudo_score).sum()) for key, guess in self.guesses.items()}
        guessed = {key for key, count in sure.items() if count >= least}
        everybody = (person for image in self.images for person in self.people.get(image["id"], ()))
        in_order = sorted(everybody, key=lambda person: person["place"])
        chosen: dict[int, list[Record]] = defaultdict(list)
        for person in first_people(in_order, config.max_people, min_area=config.min_area, guessed=guessed):
            chosen[person["image_id"]].append(person)
        return chosen


def first_people(
    annotations: Iterable[Record],
    count: int = 0,
    *,
    min_area: float = DatasetConfig.min_area,
    guessed: Collection[int] = (),
) -> list[Record]:
    """Return the annotations that make crops: labelled, no crowd, not too small.

    Args:
        annotations: COCO's.
        count: only so many first ones; 0 = all.
        min_area: square pixels.
        guessed: ids of those whom another network labelled well enough.
    """
    useful = (
        annotation
        for annotation in annotations
        if (annotation.get("num_keypoints") or annotation["id"] in guessed)
        and not annotation.get("iscrowd")
        and annotation.get("area", min_area) >= min_area
    )
    return list(islice(useful, count or None))


def read_labels(root: Path, config: DatasetConfig) -> Labels:
    """Read a dataset's annotations and pseudo labels.

    Raises:
        InputError: a file is missing, damaged, or another kind of file.
    """
    pseudo = read_json(root / config.pseudo) if config.pseudo else []
    where = str(root / config.pseudo)
    if not config.annotations:
        dataset = _checked(pseudo, where)
        found = _confident(dataset, where, config)
        people = _by_image([{**person, "keypoints": [], "num_keypoints": 0} for person, _ in found])
        return Labels(  # some were not found, so a picture of nobody says nothing
            tuple({**image, "all_persons_boxed": False} for image in dataset.images if image["id"] in people),
            people,
            {person["id"]: guess for person, guess in found},
        )
    path = root / config.annotations
    dataset = _checked(read_json(path), str(path))
    people = _by_image(dataset.annotations)
    if isinstance(pseudo, list):
        return Labels(dataset.images, people, _listed(pseudo, where))
    seen = _checked(pseudo, where)
    names = {image["id"]: image["file_name"] for image in seen.images}
    by_name: dict[str, list[tuple[Record, np.ndarray]]] = defaultdict(list)
    for person, guess in _confident(seen, where, config):
        by_name[names[person["image_id"]]].append((person, guess))
    guesses: dict[int, np.ndarray] = {}
    for image in dataset.images:
        known = [person for person in people.get(image["id"], ()) if not person.get("iscrowd")]
        guesses |= match(known, by_name.get(image["file_name"], []))
    return Labels(dataset.images, people, guesses)


def read_boxes(path: Path) -> dict[str, list[list[float]]]:
    """Return the boxes (xywh) of everybody in a COCO file by picture, those whose people are not all boxed left out.

    Raises:
        InputError: it is missing or damaged.
    """
    dataset = _checked(read_json(path), str(path))
    names = {image["id"]: image["file_name"] for image in dataset.images if image.get("all_persons_boxed", True)}
    boxes: dict[str, list[list[float]]] = {name: [] for name in names.values()}
    for person in dataset.annotations:
        if person["image_id"] in names:
            boxes[names[person["image_id"]]].append(person["bbox"])
    return boxes


def match(known: Sequence[Record], found: Sequence[tuple[Record, np.ndarray]]) -> dict[int, np.ndarray]:
    """Give people the guesses whose boxes fit best, the surest guess first.

    Args:
        known: annotations of one picture.
        found: those of `posecli infer` for it, each with its (K, 3) keypoints.

    Returns:
        The keypoints by the ids of `known`.
    """
    if not known or not found:
        return {}
    ranked = sorted(found, key=lambda pair: -pair[0]["score"])
    boxes, seen = (
        xywh_to_xyxy(torch.tensor([person["bbox"] for person in people], dtype=torch.float32))
        for people in (known, [person for person, _ in ranked])
    )
    overlap = pairwise_iou(seen, boxes)
    guesses: dict[int, np.ndarray] = {}
    for row, (_, guess) in zip(overlap, ranked, strict=True):
        best = int(row.argmax())
        if row[best] >= _SAME_PERSON:
            guesses[known[best]["id"]] = guess
            overlap[:, best] = -1  # taken
    return guesses


@dataclass(frozen=True)
class _Dataset:
    images: tuple[Record, ...]
    annotations: tuple[Record, ...]


def _checked(value: object, where: str) -> _Dataset:
    """Return a COCO dataset whose records have what training reads."""
    if not isinstance(value, dict) or not all(isinstance(value.get(key), list) for key in ("images", "annotations")):
        raise InputError(f"{where}: found no COCO dataset (a dict with images and annotations)")
    images = []
    for place, entry in enumerate(value["images"]):
        image = checked_object(entry, f"{where}: images[{place}]")
        integer(image, "id", f"{where}: images[{place}]")
        name = text(image, "file_name", f"{where}: image {image['id']}")
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise InputError(f"{where}: image {image['id']}: file_name {shown(name)} leads out of the dataset's folder")
        images.append(image)
    known = {image["id"] for image in images}
    people = []
    for place, entry in enumerate(value["annotations"]):
        person = checked_object(entry, f"{where}: annotations[{place}]")
        what = f"{where}: annotation {integer(person, 'id', f'{where}: annotations[{place}]')}"
        if integer(person, "image_id", what) not in known:
            raise InputError(f"{what}: image_id {person['image_id']} is not among the images")
        numbers(person, "bbox", 4, what, layout="x, y, width, height")
        if "area" in person:
            number(person, "area", what)
        if person.get("keypoints"):
            numbers(person, "keypoints", 3 * NUM_KEYPOINTS, what, layout="x, y, v of each keypoint")
        people.append({**person, "place": place})
    return _Dataset(tuple(images), tuple(people))


def _confident(dataset: _Dataset, where: str, config: DatasetConfig) -> list[tuple[Record, np.ndarray]]:
    """Return the people that `posecli infer` found and is sure of, each with its keypoints."""
    found = []
    for person in dataset.annotations:
        what = f"{where}: annotation {person['id']}"
        if number(person, "score", what) < config.min_person_score or not person.get("keypoints"):
            continue
        scores = numbers(
            checked_object(person.get("attributes"), f"{what}: attributes"),
            "keypoint_scores",
            NUM_KEYPOINTS,
            what,
            layout="a score of each keypoint",
        )
        guess = np.array(person["keypoints"], np.float32).reshape(-1, 3)
        guess[:, 2] = scores
        found.append((person, guess))
    return found


def _listed(entries: list[Any], where: str) -> dict[int, np.ndarray]:
    guesses = {}
    for place, entry in enumerate(entries):
        guess = checked_object(entry, f"{where}: [{place}]")
        key = integer(guess, "annotation_id", f"{where}: [{place}]")
        layout = "x, y, score of each keypoint"
        flat = numbers(guess, "keypoints", 3 * NUM_KEYPOINTS, f"{where}: [{place}]", layout=layout)
        guesses[key] = np.array(flat, np.float32).reshape(-1, 3)
    return guesses


def _by_image(people: Iterable[Record]) -> dict[int, list[Record]]:
    by_image: dict[int, list[Record]] = defaultdict(list)
    for person in people:
        by_image[person["image_id"]].append(person)
    return by_image
