"""Faces made unrecognisable: where heads are, as far as poses and boxes tell, and a mosaic over them."""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

from posecli.records import Poses
from posecli.skeleton import KEYPOINTS

_HEAD = tuple(KEYPOINTS.index(name) for name in ("nose", "left_eye", "right_eye", "left_ear", "right_ear"))
_SHOULDERS = tuple(KEYPOINTS.index(name) for name in ("left_shoulder", "right_shoulder"))
_SURE_SCORE = 0.3  # of a head's keypoints
_BLOCKS = 5  # a head's width and height are so many blocks of one colour: an eye is less than one
# A head's size by what is seen of it; generous, because hair, chin and a keypoint that is a little off belong to it.
_HEAD_PER_SPREAD = 1.0  # radius / largest distance of two of its keypoints, which is ear to ear at most
_HEAD_PER_SHOULDERS = 0.42  # radius / distance of the shoulders
_HEAD_PER_BOX = 0.09  # radius / longer side of the person's box
_TOP_OF_BOX = 0.3  # where no head is seen, this much of the box from its top is taken for one


class Region(NamedTuple):
    """An ellipse, pixels."""

    x: float
    y: float
    radius_x: float
    radius_y: float


def head_regions(poses: Poses) -> list[Region]:
    """Return where the people's heads may be.

    A head without sure keypoints, turned away or hidden, is covered twice: where its unsure keypoints are, and where
    the box has its top. Too much is covered rather than too little.
    """
    people = zip(poses.boxes.tolist(), poses.keypoints.tolist(), poses.keypoint_scores.tolist(), strict=True)
    return [region for box, points, scores in people for region in _person(box, points, scores)]


def hide(image: np.ndarray, regions: list[Region]) -> None:
    """Lay a mosaic over the regions of an (H, W, 3) uint8 picture, in place."""
    for region in regions:
        _mosaic(image, region)


def _person(box: list[float], points: list[list[float]], scores: list[float]) -> list[Region]:
    if not all(map(math.isfinite, box)):
        return []
    finite = [k for k in _HEAD if all(map(math.isfinite, points[k]))]
    sure = [k for k in finite if scores[k] >= _SURE_SCORE]
    least = _HEAD_PER_BOX * max(box[2] - box[0], box[3] - box[1])
    shoulders = [points[k] for k in _SHOULDERS if scores[k] >= _SURE_SCORE and all(map(math.isfinite, points[k]))]
    if len(shoulders) == 2:
        least = max(least, _HEAD_PER_SHOULDERS * math.dist(*shoulders))
    regions = [_around([points[k] for k in sure or finite], least)] if sure or finite else []
    return regions if len(sure) > 1 else [*regions, _top(box, least)]


def _around(points: list[list[float]], least: float) -> Region:
    spread = max(math.dist(a, b) for a in points for b in points)
    x, y = (sum(values) / len(points) for values in zip(*points, strict=True))
    radius = max(_HEAD_PER_SPREAD * spread, least)
    return Region(x, y, radius, 1.25 * radius)  # faces are longer than wide, and foreheads have no keypoint


def _top(box: list[float], least: float) -> Region:
    left, top, right, bottom = box
    half = max((bottom - top) * _TOP_OF_BOX / 2, least)
    return Region((left + right) / 2, top + half, max((right - left) / 2, half), 1.2 * half)


def _mosaic(image: np.ndarray, region: Region) -> None:
    height, width = image.shape[:2]
    left, right = (round(min(max(region.x + side * region.radius_x, 0), width)) for side in (-1, 1))
    top, bottom = (round(min(max(region.y + side * region.radius_y, 0), height)) for side in (-1, 1))
    part = image[top:bottom, left:right]
    if not part.size:
        return
    blocks = min(_BLOCKS, part.shape[1]), min(_BLOCKS, part.shape[0])
    coarse = cv2.resize(part, blocks, interpolation=cv2.INTER_AREA)
    hidden = cv2.resize(coarse, (right - left, bottom - top), interpolation=cv2.INTER_NEAREST)
    mask = np.zeros(part.shape[:2], np.uint8)
    centre = round(min(max(region.x - left, -1e4), 1e5)), round(min(max(region.y - top, -1e4), 1e5))
    axes = tuple(min(math.ceil(radius) + 1, 100_000) for radius in (region.radius_x, region.radius_y))
    cv2.ellipse(mask, centre, axes, 0, 0, 360, 255, -1)
    cv2.copyTo(hidden, mask, part)
