"""Ground truth, checked and complete.

pycocotools trusts its input: a person without `area` or `num_keypoints` is a KeyError, an id of 0 can never be matched.
So everything is checked and copied here first, and what is put right is said.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from posecli.errors import InputError
from posecli.evaluation.formats import Converted, convert
from posecli.evaluation.layouts import COCO, Layout, in_coco_order
from posecli.media.checked_json import Record, checked_object, integer, number, numbers, read_json, shown, told

# What is put right, or only odd, is said once a file with the number of records it concerns.
_NOTES = {
    "no_categories": "has no categories; category_id 1 is taken as person",
    "other_names": "names its keypoints differently from COCO; their order is taken as COCO's",
    "other_category": "{count} annotations of other categories than person are left out",
    "no_area": "{count} annotations have no area; box width x height is used, which is larger and raises the scores",
    "no_iscrowd": "{count} annotations have no iscrowd; 0 is used",
    "no_keypoints": "{count} annotations have no keypoints; nobody has to find theirs",
    "no_num_keypoints": "{count} annotations have no num_keypoints; it is counted from their keypoints",
    "other_num_keypoints": "{count} annotations have another num_keypoints than labelled keypoints; the file's is used",
    "other_visibility": "{count} annotations have a visibility other than 0, 1, 2; above 0 counts as labelled",
}


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """The people annotated in a set of images, checked and complete: see `load_ground_truth`."""

    name: str  # what messages call it
    images: tuple[Record, ...]  # as in the file
    annotations: tuple[Record, ...]  # people only; bbox is COCO's x, y, width, height
    category_id: int  # of person
    notes: tuple[str, ...] = ()
    layout: Layout = COCO

    @property
    def num_annotated(self) -> int:
        """Count the people, those without keypoints included and crowds not: what refiner runs are divided by."""
        return sum(not annotation["iscrowd"] for annotation in self.annotations)

    @property
    def num_people(self) -> int:
        """Count the people with keypoints: what AP and AR are about."""
        return sum(_is_labelled(annotation) for annotation in self.annotations)

    def select(self, image_ids: Collection[int]) -> GroundTruth:
        """Return the same ground truth for these images only, in its own order.

        Raises:
            ValueError: when an image is not in the ground truth.
        """
        wanted = set(image_ids)
        if unknown := wanted - self.image_ids():
            raise ValueError(f"{self.name} has no image {min(unknown)}")
        images = tuple(image for image in self.images if image["id"] in wanted)
        annotations = tuple(annotation for annotation in self.annotations if annotation["image_id"] in wanted)
        return replace(self, images=images, annotations=annotations)

    def in_coco_order(self) -> GroundTruth:
        """Return the same people with COCO's 17 keypoints; those that the data set does not have are not labelled.

        Keypoints that only the data set has (top of the head, neck, pelvis) are left out, and a note says so.
        """
        if self.layout is COCO:
            return self
        annotations = tuple(_with_coco_keypoints(annotation, self.layout) for annotation in self.annotations)
        own = [name for name, coco in zip(self.layout.keypoints, self.layout.in_coco, strict=True) if coco is None]
        note = (
            f"{self.name}: scored on the {len(self.layout) - len(own)} keypoints that COCO has, too, without "
            f"{', '.join(own)}; not comparable with published {self.layout.name} scores"
        )
        layout = in_coco_order(self.layout)
        return replace(self, annotations=annotations, layout=layout, notes=(*self.notes, note))

    def image_ids(self) -> set[int]:
        """Return the ids of all images."""
        return {image["id"] for image in self.images}

    def boxes(self, *, labelled: bool = False) -> dict[int, np.ndarray]:
        """Return every image's true boxes, crowds left out: (N, 4) float32 xyxy by image id.

        Args:
            labelled: only people with keypoints, as in evaluations "with ground-truth boxes".
        """
        found = defaultdict(list)
        for annotation in self.annotations:
            if _is_labelled(annotation) if labelled else not annotation["iscrowd"]:
                x, y, width, height = annotation["bbox"]
                found[annotation["image_id"]].append((x, y, x + width, y + height))
        return {image["id"]: np.array(found[image["id"]], dtype=np.float32).reshape(-1, 4) for image in self.images}


def load_ground_truth(path: Path, gt_format: str = "auto") -> GroundTruth:
    """Read a COCO keypoint dataset such as `person_keypoints_val2017.json`, or another public one.

    Args:
        path: the file.
        gt_format: one of `formats.FORMATS`, or "auto" to tell by the file's shape.

    Raises:
        InputError: when it cannot be read or is no such dataset; the message names the first bad record.
    """
    return check_ground_truth(read_json(path), name=str(path), gt_format=gt_format)


def check_ground_truth(data: object, *, name: str, gt_format: str = "auto") -> GroundTruth:
    """Check and complete a dataset already in memory; `data` itself stays as it is. See `load_ground_truth`."""
    converted = convert(data, gt_format, name)
    dataset = converted.dataset
    tally: Counter[str] = Counter()
    images = _checked_images(dataset["images"], name)
    category_id = _person_category(converted, name, tally)
    image_ids = {image["id"] for image in images}
    annotations, seen = [], set()
    for index, value in enumerate(dataset["annotations"]):
        where = f"{name}: annotations[{index}]"
        record = checked_object(value, where)
        if integer(record, "category_id", where) != category_id:
            tally["other_category"] += 1
            continue
        annotation = _checked_annotation(record, where, tally, converted.layout)
        if annotation["image_id"] not in image_ids:
            raise InputError(f"{where}: image_id {annotation['image_id']} is not among the images")
        if annotation["id"] in seen:
            raise InputError(f"{where}: id {annotation['id']} is there twice; every annotation needs its own")
        seen.add(annotation["id"])
        annotations.append(annotation)
    notes = (*converted.notes, *told(name, _NOTES, tally))
    return GroundTruth(name, images, tuple(annotations), category_id, notes, converted.layout)


def _is_labelled(annotation: Record) -> bool:
    return annotation["num_keypoints"] > 0 and not annotation["iscrowd"]


def _with_coco_keypoints(annotation: Record, layout: Layout) -> Record:
    triplets = [[0.0, 0.0, 0.0] for _ in range(len(COCO))]
    for own, coco in enumerate(layout.in_coco):
        if coco is not None:
            triplets[coco] = annotation["keypoints"][3 * own : 3 * own + 3]
    labelled = sum(visibility > 0 for _, _, visibility in triplets)
    return annotation | {"keypoints": [value for triplet in triplets for value in triplet], "num_keypoints": labelled}


def _checked_images(values: list[object], name: str) -> tuple[Record, ...]:
    if not values:
        raise InputError(f"{name}: no images")
    images: dict[int, Record] = {}
    for index, value in enumerate(values):
        where = f"{name}: images[{index}]"
        image = checked_object(value, where)
        if integer(image, "id", where) in images:
            raise InputError(f"{where}: id {image['id']} is there twice; every image needs its own")
        images[image["id"]] = image
    return tuple(images.values())


def _person_category(converted: Converted, name: str, tally: Counter[str]) -> int:
    layout = converted.layout
    values = converted.dataset.get("categories")
    if not values:
        tally["no_categories"] += 1
        return 1
    if not isinstance(values, list):
        raise InputError(f"{name}: categories is {shown(values)}, wanted a list")
    categories = [checked_object(value, f"{name}: categories[{index}]") for index, value in enumerate(values)]
    people = [category for category in categories if category.get("name") == "person"]
    if not people:
        found = ", ".join(str(category.get("name")) for category in categories[:5])
        raise InputError(f"{name}: no category is named person (found {found})")
    person = people[0]
    names = person.get("keypoints")
    if isinstance(names, list) and len(names) != len(layout):
        wanted = "COCO's" if layout is COCO else layout.name
        raise InputError(f"{name}: its person has {len(names)} keypoints, wanted {wanted} {len(layout)}")
    tally["other_names"] += layout is COCO and isinstance(names, list) and tuple(names) != COCO.keypoints
    return integer(person, "id", f"{name}: category person")


def _checked_annotation(record: Record, where: str, tally: Counter[str], layout: Layout) -> Record:
    annotation: Record = {key: integer(record, key, where) for key in ("id", "image_id", "category_id")}
    where = f"{where} (id {annotation['id']})"
    annotation["bbox"] = numbers(record, "bbox", 4, where, layout="x, y, width, height")
    if min(annotation["bbox"][2:]) < 0:
        raise InputError(f"{where}: bbox {annotation['bbox']} has a negative side, wanted x, y, width, height")
    annotation["area"] = _area(record, annotation["bbox"], where, tally)
    tally["no_iscrowd"] += "iscrowd" not in record
    if (crowd := record.get("iscrowd", 0)) not in (0, 1):
        raise InputError(f"{where}: iscrowd is {shown(crowd)}, wanted 0 or 1")
    annotation["iscrowd"] = int(crowd)
    annotation |= {key: number(record, key, where) for key in ("max_iou", "head_size") if key in record}
    if not record.get("keypoints"):
        tally["no_keypoints"] += 1
        return annotation | {"keypoints": [0] * 3 * len(layout), "num_keypoints": 0}
    annotation["keypoints"] = keypoint_numbers(record, len(layout), where)
    visibilities = annotation["keypoints"][2::3]
    labelled = sum(visibility > 0 for visibility in visibilities)
    tally["other_visibility"] += not set(visibilities) <= {0, 1, 2}
    if "num_keypoints" not in record:
        tally["no_num_keypoints"] += 1
        return annotation | {"num_keypoints": labelled}
    annotation["num_keypoints"] = integer(record, "num_keypoints", where)
    tally["other_num_keypoints"] += annotation["num_keypoints"] != labelled
    return annotation


def keypoint_numbers(record: Record, count: int, where: str) -> list[float]:
    """Return the 3 x `count` numbers of `keypoints`."""
    layout = f"x, y and visibility or score of {count} keypoints"
    return numbers(record, "keypoints", 3 * count, where, layout=layout)


def _area(record: Record, bbox_xywh: list[float], where: str, tally: Counter[str]) -> float:
    if "area" not in record:
        tally["no_area"] += 1
        return bbox_xywh[2] * bbox_xywh[3]
    area = number(record, "area", where)
    if area < 0:
        raise InputError(f"{where}: area is {area}, wanted square pixels, 0 or more")
    return area
