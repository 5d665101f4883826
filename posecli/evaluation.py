"""COCO scores by pycocotools, behind checks of what is given to it.

pycocotools trusts its input: one NaN coordinate makes a pose match anybody, a `bbox` in a result changes APm and APl,
an empty list or a string id ends in an IndexError or AssertionError. So everything is checked and copied here first.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from posecli.errors import InputError
from posecli.skeleton import KEYPOINTS, NUM_KEYPOINTS

Record: TypeAlias = dict[str, Any]  # one JSON object

MAX_POSES = 20  # COCO's keypoint scores look at the best 20 poses of an image
MAX_BOXES = 100  # COCO's box scores look at the best 100 boxes of an image
LARGEST = 1e9  # no coordinate, area or score of a real file is beyond; NaN and infinity are not within either

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
    "bbox": "{count} poses have a bbox; it is left out, because with it APm and APl are not COCO's",
    "high_score": "{count} poses score outside [0, 1]; only their order matters here",
    "many_poses": "{count} images have more than 20 poses; COCO looks at the best 20",
}


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """The people annotated in a set of images, checked and complete: see `load_ground_truth`."""

    name: str  # what messages call it
    images: tuple[Record, ...]  # as in the file
    annotations: tuple[Record, ...]  # people only; bbox is COCO's x, y, width, height
    category_id: int  # of person
    notes: tuple[str, ...] = ()

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
        return GroundTruth(self.name, images, annotations, self.category_id, self.notes)

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


@dataclass(frozen=True, slots=True)
class Results:
    """Poses in COCO's results format, checked against a ground truth: see `load_results`."""

    poses: tuple[Record, ...]  # image_id, category_id, keypoints, score; nothing else
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CocoScores:
    """COCO's ten keypoint numbers, in [0, 1]. None: nobody of that size is annotated (pycocotools says -1)."""

    ap: float
    ap50: float
    ap75: float
    ap_medium: float | None  # area from 32 x 32 to 96 x 96 px
    ap_large: float | None
    ar: float
    ar50: float
    ar75: float
    ar_medium: float | None
    ar_large: float | None
    num_images: int
    num_people: int  # annotated with keypoints
    num_results: int  # poses


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxScores:
    """How well boxes find the annotated people, with keypoints or not, in [0, 1]."""

    ap50: float
    ar_100_iou50: float  # people found by one of the best 100 boxes of the image, at IoU .5


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalReport:
    """Everything that one evaluation found."""

    scores: CocoScores
    num_annotated: int  # people, without keypoints included and crowds not
    refiner_runs: int | None = None  # None where poses came from a file
    boxes: BoxScores | None = None
    notes: tuple[str, ...] = ()

    @property
    def refiner_runs_per_person(self) -> float | None:
        """The paper's count: refiner runs / annotated people."""
        if self.refiner_runs is None or not self.num_annotated:
            return None
        return self.refiner_runs / self.num_annotated

    def as_dict(self) -> Record:
        """Return plain values for JSON, under COCO's names, rounded to four decimals."""
        named = {_COCO_NAMES.get(name, name): value for name, value in asdict(self.scores).items()}
        named |= {"num_annotated": self.num_annotated, "refiner_runs": self.refiner_runs}
        named["refiner_runs_per_person"] = self.refiner_runs_per_person
        if self.boxes:
            named |= {"box_AP50": self.boxes.ap50, "box_AR100_IoU50": self.boxes.ar_100_iou50}
        rounded = {name: round(value, 4) if isinstance(value, float) else value for name, value in named.items()}
        return rounded | {"notes": list(self.notes)}


_COCO_NAMES = {
    "ap": "AP", "ap50": "AP50", "ap75": "AP75", "ap_medium": "APm", "ap_large": "APl",
    "ar": "AR", "ar50": "AR50", "ar75": "AR75", "ar_medium": "ARm", "ar_large": "ARl",
}  # fmt: skip


def load_ground_truth(path: Path) -> GroundTruth:
    """Read a COCO keypoint dataset such as `person_keypoints_val2017.json`.

    Raises:
        InputError: when it cannot be read or is no such dataset; the message names the first bad record.
    """
    return check_ground_truth(_read_json(path), name=str(path))


def load_results(path: Path, ground_truth: GroundTruth) -> Results:
    """Read a COCO results list: `[{"image_id", "category_id", "keypoints", "score"}, ...]`; it may be empty.

    Raises:
        InputError: when it cannot be read or does not fit the ground truth; the message names the first bad record.
    """
    return check_results(_read_json(path), ground_truth, name=str(path))


def check_ground_truth(data: object, *, name: str) -> GroundTruth:
    """Check and complete a dataset already in memory; `data` itself stays as it is. See `load_ground_truth`."""
    if isinstance(data, list):
        raise InputError(f"{name}: a list, wanted a COCO dataset with images and annotations; results go to --pred")
    dataset = _object(data, name)
    for key in ("images", "annotations"):
        if not isinstance(dataset.get(key), list):
            raise InputError(f"{name}: no list of {key}, wanted a COCO dataset with images and annotations")
    tally: Counter[str] = Counter()
    images = _checked_images(dataset["images"], name)
    category_id = _person_category(dataset, name, tally)
    image_ids = {image["id"] for image in images}
    annotations, seen = [], set()
    for index, value in enumerate(dataset["annotations"]):
        where = f"{name}: annotations[{index}]"
        record = _object(value, where)
        if _integer(record, "category_id", where) != category_id:
            tally["other_category"] += 1
            continue
        annotation = _checked_annotation(record, where, tally)
        if annotation["image_id"] not in image_ids:
            raise InputError(f"{where}: image_id {annotation['image_id']} is not among the images")
        if annotation["id"] in seen:
            raise InputError(f"{where}: id {annotation['id']} is there twice; every annotation needs its own")
        seen.add(annotation["id"])
        annotations.append(annotation)
    return GroundTruth(name, images, tuple(annotations), category_id, _told(name, tally))


def check_results(data: object, ground_truth: GroundTruth, *, name: str = "results") -> Results:
    """Check poses already in memory against a ground truth; `data` itself stays as it is. See `load_results`."""
    if isinstance(data, dict) and "annotations" in data:
        raise InputError(
            f"{name}: a COCO dataset, wanted a results list; posecli infer writes it beside, as STEM.results.json"
        )
    if not isinstance(data, list):
        raise InputError(f"{name}: {_shown(data)}, wanted a list of poses; nobody found is []")
    tally: Counter[str] = Counter()
    image_ids = ground_truth.image_ids()
    poses, per_image = [], Counter[int]()
    for index, value in enumerate(data):
        where = f"{name}: [{index}]"
        record = _object(value, where)
        pose = _checked_pose(record, where, tally)
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
    return Results(tuple(poses), _told(name, tally))


def keypoint_scores(ground_truth: GroundTruth, results: Results) -> CocoScores:
    """Score poses as COCO does. No poses at all score 0.

    Raises:
        InputError: when nobody is annotated with keypoints.
    """
    if not ground_truth.num_people:
        raise InputError(f"{ground_truth.name}: nobody has keypoints, so there is nothing to score poses against")
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        truth = _coco_truth(ground_truth)
        evaluation = COCOeval(truth, _coco_results(truth, results.poses), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    stats = [float(value) for value in evaluation.stats]
    sized = [None if value < 0 else value for value in stats]
    return CocoScores(
        ap=stats[0],
        ap50=stats[1],
        ap75=stats[2],
        ap_medium=sized[3],
        ap_large=sized[4],
        ar=stats[5],
        ar50=stats[6],
        ar75=stats[7],
        ar_medium=sized[8],
        ar_large=sized[9],
        num_images=len(ground_truth.images),
        num_people=ground_truth.num_people,
        num_results=len(results.poses),
    )


def box_recall(ground_truth: GroundTruth, boxes_per_image: Mapping[int, tuple[np.ndarray, np.ndarray]]) -> BoxScores:
    """Score boxes as COCO does, at IoU .5 and for all sizes. A box on a crowd counts neither way.

    Args:
        ground_truth: everyone annotated counts, with keypoints or not.
        boxes_per_image: by image id, (N, 4) finite xyxy image pixels and (N,) scores; an image left out has no boxes.

    Raises:
        InputError: when nobody is annotated.
        ValueError: when an image is unknown, or boxes and scores are not of these shapes or not finite.
    """
    if not ground_truth.num_annotated:
        raise InputError(f"{ground_truth.name}: nobody is annotated, so there is nothing to score boxes against")
    if unknown := set(boxes_per_image) - ground_truth.image_ids():
        raise ValueError(f"{ground_truth.name} has no image {min(unknown)}")
    records = [
        {"image_id": image_id, "category_id": ground_truth.category_id, "bbox": box, "score": score}
        for image_id, (boxes, scores) in boxes_per_image.items()
        for box, score in zip(_xywh(boxes), _finite(scores, (len(boxes),)).tolist(), strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = _coco_truth(ground_truth)
        evaluation = COCOeval(truth, _coco_results(truth, records), "bbox")
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.params.maxDets = [MAX_BOXES]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    return BoxScores(  # one IoU, one category, one size, one count: every axis but recall's is of length 1
        ap50=float(evaluation.eval["precision"].mean()), ar_100_iou50=float(evaluation.eval["recall"].item())
    )


def _coco_truth(ground_truth: GroundTruth) -> COCO:
    """Return a copy for pycocotools, which writes into what it is given."""
    truth = COCO()
    truth.dataset = {
        "images": [{"id": image["id"]} for image in ground_truth.images],
        "categories": [{"id": ground_truth.category_id, "name": "person"}],
        # Ids count from 1: pycocotools takes a match with annotation 0 for no match.
        "annotations": [{**record, "id": index} for index, record in enumerate(ground_truth.annotations, start=1)],
    }
    truth.createIndex()
    return truth


def _coco_results(truth: COCO, records: Iterable[Record]) -> COCO:
    copies = [dict(record) for record in records]
    if copies:
        return truth.loadRes(copies)
    empty = COCO()  # loadRes([]) is an IndexError
    empty.dataset = {**truth.dataset, "annotations": []}
    empty.createIndex()
    return empty


def _xywh(boxes: np.ndarray) -> list[list[float]]:
    corners = _finite(boxes, (len(boxes), 4))
    return np.concatenate((corners[:, :2], corners[:, 2:] - corners[:, :2]), axis=1).tolist()


def _finite(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        array = array.reshape(shape)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"wanted finite numbers of shape {shape}, got {array.shape}")
    return array


def _is_labelled(annotation: Record) -> bool:
    return annotation["num_keypoints"] > 0 and not annotation["iscrowd"]


def _checked_images(values: list[object], name: str) -> tuple[Record, ...]:
    if not values:
        raise InputError(f"{name}: no images")
    images: dict[int, Record] = {}
    for index, value in enumerate(values):
        where = f"{name}: images[{index}]"
        image = _object(value, where)
        if _integer(image, "id", where) in images:
            raise InputError(f"{where}: id {image['id']} is there twice; every image needs its own")
        images[image["id"]] = image
    return tuple(images.values())


def _person_category(dataset: Record, name: str, tally: Counter[str]) -> int:
    values = dataset.get("categories")
    if not values:
        tally["no_categories"] += 1
        return 1
    if not isinstance(values, list):
        raise InputError(f"{name}: categories is {_shown(values)}, wanted a list")
    categories = [_object(value, f"{name}: categories[{index}]") for index, value in enumerate(values)]
    people = [category for category in categories if category.get("name") == "person"]
    if not people:
        found = ", ".join(str(category.get("name")) for category in categories[:5])
        raise InputError(f"{name}: no category is named person (found {found})")
    person = people[0]
    names = person.get("keypoints")
    if isinstance(names, list) and len(names) != NUM_KEYPOINTS:
        raise InputError(f"{name}: its person has {len(names)} keypoints, wanted COCO's {NUM_KEYPOINTS}")
    tally["other_names"] += isinstance(names, list) and tuple(names) != KEYPOINTS
    return _integer(person, "id", f"{name}: category person")


def _checked_annotation(record: Record, where: str, tally: Counter[str]) -> Record:
    annotation: Record = {key: _integer(record, key, where) for key in ("id", "image_id", "category_id")}
    where = f"{where} (id {annotation['id']})"
    annotation["bbox"] = _numbers(record, "bbox", 4, where)
    if min(annotation["bbox"][2:]) < 0:
        raise InputError(f"{where}: bbox {annotation['bbox']} has a negative side, wanted x, y, width, height")
    annotation["area"] = _area(record, annotation["bbox"], where, tally)
    tally["no_iscrowd"] += "iscrowd" not in record
    if (crowd := record.get("iscrowd", 0)) not in (0, 1):
        raise InputError(f"{where}: iscrowd is {_shown(crowd)}, wanted 0 or 1")
    annotation["iscrowd"] = int(crowd)
    if not record.get("keypoints"):
        tally["no_keypoints"] += 1
        return annotation | {"keypoints": [0] * 3 * NUM_KEYPOINTS, "num_keypoints": 0}
    annotation["keypoints"] = _numbers(record, "keypoints", 3 * NUM_KEYPOINTS, where)
    visibilities = annotation["keypoints"][2::3]
    labelled = sum(visibility > 0 for visibility in visibilities)
    tally["other_visibility"] += not set(visibilities) <= {0, 1, 2}
    if "num_keypoints" not in record:
        tally["no_num_keypoints"] += 1
        return annotation | {"num_keypoints": labelled}
    annotation["num_keypoints"] = _integer(record, "num_keypoints", where)
    tally["other_num_keypoints"] += annotation["num_keypoints"] != labelled
    return annotation


def _area(record: Record, bbox_xywh: list[float], where: str, tally: Counter[str]) -> float:
    if "area" not in record:
        tally["no_area"] += 1
        return bbox_xywh[2] * bbox_xywh[3]
    area = _number(record, "area", where)
    if area < 0:
        raise InputError(f"{where}: area is {area}, wanted square pixels, 0 or more")
    return area


def _checked_pose(record: Record, where: str, tally: Counter[str]) -> Record:
    pose: Record = {key: _integer(record, key, where) for key in ("image_id", "category_id")}
    pose["keypoints"] = _numbers(record, "keypoints", 3 * NUM_KEYPOINTS, where)
    pose["score"] = _number(record, "score", where)
    tally["bbox"] += "bbox" in record
    tally["high_score"] += not 0 <= pose["score"] <= 1
    return pose


def _object(value: object, where: str) -> Record:
    if not isinstance(value, dict):
        raise InputError(f"{where}: {_shown(value)}, wanted a JSON object")
    return value


def _integer(record: Record, key: str, where: str) -> int:
    if key not in record:
        raise InputError(f"{where}: no {key}, wanted an integer")
    value = record[key]
    if type(value) is not int:  # True is an int, too
        raise InputError(f"{where}: {key} is {_shown(value)}, wanted an integer")
    return value


def _number(record: Record, key: str, where: str) -> float:
    if key not in record:
        raise InputError(f"{where}: no {key}, wanted a number")
    if not _is_number(record[key]):
        raise InputError(f"{where}: {key} is {_shown(record[key])}, wanted a finite number")
    return record[key]


def _numbers(record: Record, key: str, length: int, where: str) -> list[float]:
    values = record.get(key)
    layout = "x, y, width, height" if key == "bbox" else f"x, y and visibility or score of {NUM_KEYPOINTS} keypoints"
    if key not in record:
        raise InputError(f"{where}: no {key}, wanted {length} numbers: {layout}")
    if not isinstance(values, list):
        raise InputError(f"{where}: {key} is {_shown(values)}, wanted a list of {length} numbers: {layout}")
    if len(values) != length:
        raise InputError(f"{where}: {key} has {len(values)} numbers, wanted {length}: {layout}")
    for index, value in enumerate(values):
        if not _is_number(value):
            raise InputError(f"{where}: {key}[{index}] is {_shown(value)}, wanted a finite number")
    return list(values)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and -LARGEST <= value <= LARGEST


def _shown(value: object) -> str:
    """Show a wrong value as the file has it, if it is short."""
    if isinstance(value, dict):
        return "a JSON object"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(value, default=repr, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _told(name: str, tally: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(f"{name}: {text.format(count=tally[key])}" for key, text in _NOTES.items() if tally.get(key))


def _read_json(path: Path) -> object:
    """Read a JSON file. NaN passes, so that the checks can name its record."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not text in UTF-8, wanted JSON") from None
    except json.JSONDecodeError as error:
        way_out = "; one JSON value is wanted, not JSON Lines" if error.msg == "Extra data" else ""
        raise InputError(
            f"{path}: not JSON: {error.msg} at line {error.lineno}, column {error.colno}{way_out}"
        ) from None
    except (RecursionError, ValueError) as error:  # nested too deep; an integer of thousands of digits
        raise InputError(f"{path}: JSON that cannot be read ({error})") from None
