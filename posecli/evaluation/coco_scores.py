"""COCO's numbers: AP and AR of poses and of boxes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from posecli.errors import InputError
from posecli.evaluation.matching import AT_50, AT_75, Curves, Matches, judge, match, rank
from posecli.evaluation.packing import Packed, Pairs, pack_detections, pack_people, pair_up
from posecli.evaluation.truth import GroundTruth
from posecli.media.checked_json import Record

MAX_BOXES = 100  # COCO's box scores look at the best 100 boxes of an image

_ANY = (0.0, 1e10)  # square pixels
_MEDIUM, _LARGE = (32.0**2, 96.0**2), (96.0**2, 1e10)

COCO_NAMES = {
    "ap": "AP", "ap50": "AP50", "ap75": "AP75", "ap_medium": "APm", "ap_large": "APl",
    "ar": "AR", "ar50": "AR50", "ar75": "AR75", "ar_medium": "ARm", "ar_large": "ARl",
}  # fmt: skip


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

    def rows(self) -> dict[str, tuple[float | None, ...]]:
        """Return AP and AR, each over all OKS, at .50, at .75, of medium and of large people."""
        return {
            "AP": (self.ap, self.ap50, self.ap75, self.ap_medium, self.ap_large),
            "AR": (self.ar, self.ar50, self.ar75, self.ar_medium, self.ar_large),
        }

    def as_dict(self) -> Record:
        """Return the numbers under COCO's names."""
        return {COCO_NAMES.get(name, name): value for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxScores:
    """How well boxes find the annotated people, with keypoints or not, in [0, 1]."""

    ap: float  # mean over IoU .50:.05:.95
    ap50: float
    ap75: float
    ar_100: float  # mean over IoU .50:.05:.95 of the people found by the best 100 boxes of the image
    ar_100_iou50: float


@dataclass(frozen=True, slots=True)
class Scored:
    """Poses matched with the people whose keypoints count, people of all sizes: what every breakdown looks into."""

    packed: Packed
    labelled: np.ndarray  # (N, K) bool, the keypoints that count
    counted: np.ndarray  # (N,) bool, the people to be found: they have such keypoints and are no crowd
    oks: np.ndarray  # (M,) of the pairs
    matches: Matches  # at THRESHOLDS
    curves: Curves


def score(packed: Packed, labelled: np.ndarray | None = None) -> Scored:
    """Match poses with people.

    Args:
        packed: truth and poses.
        labelled: (N, K) bool, score only these keypoints, as if the truth had no others; default: all labelled.

    Raises:
        InputError: when nobody is annotated with keypoints, or with these.
    """
    people = packed.people
    if labelled is None:
        labelled, num_labelled = people.visibility > 0, people.num_keypoints  # the file's count, as in pycocotools
    else:
        num_labelled = labelled.sum(axis=1)
    counted = (num_labelled > 0) & ~people.crowd & (people.area <= _ANY[1])
    if not counted.any():
        raise InputError(f"{packed.truth.name}: nobody has keypoints, so there is nothing to score poses against")
    oks = packed.oks(labelled)
    matches, found = _sized(packed, oks, counted, _ANY)
    return Scored(packed, labelled, counted, oks, matches, found)


def coco_scores(scored: Scored, *, num_results: int) -> CocoScores:
    """Return COCO's ten numbers.

    Args:
        scored: poses matched with people.
        num_results: poses given, those beyond the best 20 of an image included.
    """
    whole = scored.curves
    medium, large = of_size(scored, _MEDIUM), of_size(scored, _LARGE)
    return CocoScores(
        ap=whole.ap,
        ap50=whole.ap_at(AT_50),
        ap75=whole.ap_at(AT_75),
        ap_medium=medium.ap if medium else None,
        ap_large=large.ap if large else None,
        ar=whole.ar,
        ar50=float(whole.recall[AT_50]),
        ar75=float(whole.recall[AT_75]),
        ar_medium=medium.ar if medium else None,
        ar_large=large.ar if large else None,
        num_images=scored.packed.num_images,
        num_people=int(scored.counted.sum()),
        num_results=num_results,
    )


def of_size(scored: Scored, area_range: tuple[float, float]) -> Curves | None:
    """Return the curves for people, and for false poses, of a size; None: nobody has it.

    Args:
        scored: poses matched with people of all sizes.
        area_range: least and largest area, square pixels, both included.
    """
    low, high = area_range
    area = scored.packed.people.area
    counted = scored.counted & (area >= low) & (area <= high)
    return _sized(scored.packed, scored.oks, counted, area_range)[1] if counted.any() else None


def _sized(
    packed: Packed, oks: np.ndarray, counted: np.ndarray, area_range: tuple[float, float]
) -> tuple[Matches, Curves]:
    low, high = area_range
    person = match(oks, packed.pairs, packed.poses.image, counted=counted, crowd=packed.people.crowd)
    countable = (packed.poses.area >= low) & (packed.poses.area <= high)
    matches = judge(person, counted=counted, countable=countable)
    return matches, rank(matches, packed.poses).curves(float(counted.sum()))


def box_recall(ground_truth: GroundTruth, boxes_per_image: Mapping[int, tuple[np.ndarray, np.ndarray]]) -> BoxScores:
    """Score boxes as COCO does, for all sizes. A box on a crowd counts neither way.

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
    records, corners = [], [np.zeros((0, 4))]
    for image_id, (boxes, scores) in boxes_per_image.items():
        corners.append(_finite(boxes, (len(boxes), 4)))
        records += [{"image_id": image_id, "score": score} for score in _finite(scores, (len(boxes),)).tolist()]
    image_ids = sorted(ground_truth.image_ids())
    people = pack_people(ground_truth, image_ids)
    detections = pack_detections(records, np.ones(len(records)), image_ids, MAX_BOXES)
    pairs = pair_up(detections.image, people.image, len(image_ids))
    overlap = _box_iou(np.concatenate(corners)[detections.source], people.boxes, people.crowd, pairs)
    person = match(overlap, pairs, detections.image, counted=~people.crowd, crowd=people.crowd)
    matches = judge(person, counted=~people.crowd, countable=np.ones(len(detections.image), dtype=bool))
    found = rank(matches, detections).curves(float(ground_truth.num_annotated))
    return BoxScores(
        ap=found.ap,
        ap50=found.ap_at(AT_50),
        ap75=found.ap_at(AT_75),
        ar_100=found.ar,
        ar_100_iou50=float(found.recall[AT_50]),
    )


def _box_iou(boxes: np.ndarray, people_xywh: np.ndarray, crowd: np.ndarray, pairs: Pairs) -> np.ndarray:
    """Return the IoU of every pair, (M,); with a crowd, the share of the box inside it. Source: pycocotools `iou`."""
    box, person = boxes[pairs.pose], people_xywh[pairs.person]
    size = box[:, 2:] - box[:, :2]
    low, high = np.maximum(box[:, :2], person[:, :2]), np.minimum(box[:, 2:], person[:, :2] + person[:, 2:])
    inside = np.prod(np.maximum(high - low, 0), axis=1)
    own = np.prod(size, axis=1)
    union = np.where(crowd[pairs.person], own, own + np.prod(person[:, 2:], axis=1) - inside)
    return np.divide(inside, union, out=np.zeros(len(inside)), where=union > 0)


def _finite(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        array = array.reshape(shape)
    if array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"wanted finite numbers of shape {shape}, got {array.shape}")
    return array
