"""Results lists, checked against a ground truth.

One NaN coordinate makes pycocotools match a pose with anybody, a `bbox` changes APm and APl, an empty list or a string
id ends in an IndexError or AssertionError. Here each is refused by name, or left out and said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from posecli.errors import InputError
from posecli.evaluation.layouts import COCO
from posecli.evaluation.truth import GroundTruth, keypoint_numbers
from posecli.media.checked_json import Record, checked_object, integer, number, read_json, shown, told

MAX_POSES = 20  # COCO's keypoint scores look at the best 20 poses of an image

_NOTES = {
    "bbox": "{count} poses have a bbox; it is left out, because with it APm and APl are not COCO's",
    "high_score": "{count} poses score outside [0, 1]; only their order matters here",
    "many_poses": f"{{count}} images have more than {MAX_POSES} poses; COCO looks at the best {MAX_POSES}",
}


@dataclass(frozen=True, slots=True)
class Results:
    """Poses in COCO's results format, checked against a ground truth: see `load_results`."""

    poses: tuple[Record, ...]  # image_id, category_id, keypoints, score; nothing else
    notes: tuple[str, ...] = ()


def load_results(path: Path, ground_truth: GroundTruth) -> Results:
    """Read a COCO results list: `[{"image_id", "category_id", "keypoints", "score"}, ...]`; it may be empty.

    Raises:
        InputError: when it cannot be read or does not fit the ground truth; the message names the first bad record.
    """
    return check_results(read_json(path), ground_truth, name=str(path))


def load_results_lists(paths: Sequence[Path], ground_truth: GroundTruth) -> tuple[GroundTruth, list[Results]]:
    """Read results lists of one ground truth, in its own keypoints or in COCO's.

    Returns:
        The ground truth, in COCO's order where the poses have COCO's keypoints, and the results.

    Raises:
        InputError: see `load_results`.
    """
    lists = [read_json(path) for path in paths]
    if any(map(_has_coco_keypoints, lists)):
        ground_truth = ground_truth.in_coco_order()
    return ground_truth, [
        check_results(data, ground_truth, name=str(path)) for path, data in zip(paths, lists, strict=True)
    ]


def _has_coco_keypoints(data: object) -> bool:
    """Say whether the first pose of a results list has COCO's number of keypoints, whatever else is wrong with it."""
    if not isinstance(data, list) or not data or not isinstance(data[0], dict):
        return False
    keypoints = data[0].get("keypoints")
    return isinstance(keypoints, list) and len(keypoints) == 3 * len(COCO)


def check_results(data: object, ground_truth: GroundTruth, *, name: str = "results") -> Results:
    """Check poses already in memory against a ground truth; `data` itself stays as it is. See `load_results`."""
    if isinstance(data, dict) and "annotations" in data:
        raise InputError(
            f"{name}: a COCO dataset, wanted a results list; posecli infer writes it beside, as STEM.results.json"
        )
    if not isinstance(data, list):
        raise InputError(f"{name}: {shown(data)}, wanted a list of poses; nobody found is []")
    tally: Counter[str] = Counter()
    image_ids = ground_truth.image_ids()
    poses, per_image = [], Counter[int]()
    for index, value in enumerate(data):
        where = f"{name}: [{index}]"
        record = checked_object(value, where)
        pose = _checked_pose(record, where, tally, len(ground_truth.layout))
        if pose["image_id"] not in image_ids:
            raise InputError(
                f"{where}: image_id {pose['image_id']} is not in {ground_truth.name} (ids {min(image_ids)} to "
                f"{max(image_ids)}); give the ground truth that the poses were made for"
            )
        if pose["category_id"] != ground_truth.category_id:
            raise InputError(
                f"{where}: category_id is {pose['category_id']}, person is {ground_truth.category_id} in "
                f"{ground_truth.name}"
            )
        per_image[pose["image_id"]] += 1
        poses.append(pose)
    tally["many_poses"] = sum(count > MAX_POSES for count in per_image.values())
    return Results(tuple(poses), told(name, _NOTES, tally))


def _checked_pose(record: Record, where: str, tally: Counter[str], num_keypoints: int) -> Record:
    pose: Record = {key: integer(record, key, where) for key in ("image_id", "category_id")}
    pose["keypoints"] = keypoint_numbers(record, num_keypoints, where)
    pose["score"] = number(record, "score", where)
    tally["bbox"] += "bbox" in record
    tally["high_score"] += not 0 <= pose["score"] <= 1
    return pose
