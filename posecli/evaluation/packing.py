"""Truth and poses as arrays: every pair of a person and a pose of the same image, and how alike they are.

All images at once, so that nothing of scoring is a loop over images in Python.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from posecli.evaluation.layouts import Layout
from posecli.evaluation.results import MAX_POSES, Results
from posecli.evaluation.truth import GroundTruth
from posecli.media.checked_json import Record

_BLOCK = 1 << 13  # pairs at a time


@dataclass(frozen=True, slots=True)
class People:
    """The people of all images, in the ground truth's order within an image, images by their ids."""

    image: np.ndarray  # (N,) int, which image
    keypoints: np.ndarray  # (N, K, 2) float, x y in image pixels
    visibility: np.ndarray  # (N, K) float, 0 not labelled, 1 hidden, 2 visible
    boxes: np.ndarray  # (N, 4) float, xywh
    area: np.ndarray  # (N,) float, square pixels
    num_keypoints: np.ndarray  # (N,) int, as the file says
    crowd: np.ndarray  # (N,) bool
    source: np.ndarray  # (N,) int, index among the ground truth's annotations


@dataclass(frozen=True, slots=True)
class Detections:
    """Poses or boxes of all images, best score first within an image, images by their ids."""

    image: np.ndarray  # (P,) int, which image
    scores: np.ndarray  # (P,) float
    area: np.ndarray  # (P,) float, square pixels
    source: np.ndarray  # (P,) int, index among what was given


@dataclass(frozen=True, slots=True)
class Pairs:
    """Everybody with every pose of the same image: by image, then pose, then person."""

    pose: np.ndarray  # (M,) int
    person: np.ndarray  # (M,) int


@dataclass(frozen=True, slots=True)
class Packed:
    """A ground truth and the poses to be scored against it, ready to be compared."""

    truth: GroundTruth
    people: People
    poses: Detections
    keypoints: np.ndarray  # (P, K, 2) float, the poses', x y in image pixels
    pairs: Pairs
    similarity: np.ndarray  # (M, K) float in [0, 1], of each keypoint of a pair; see `pack`
    outside: np.ndarray  # (M,) float in [0, 1], OKS of a pair whose person has no labelled keypoint
    num_images: int

    @property
    def images(self) -> list[Record]:
        """The ground truth's images in the order of all indexes of images: by id."""
        return sorted(self.truth.images, key=lambda image: int(image["id"]))

    def oks(self, labelled: np.ndarray) -> np.ndarray:
        """Return the OKS of every pair, (M,) float in [0, 1].

        Args:
            labelled: (N, K) bool, the keypoints that count.

        Source: pycocotools `COCOeval.computeOks`.
        """
        weight = labelled[self.pairs.person]
        count = weight.sum(axis=1)
        return np.where(count, (self.similarity * weight).sum(axis=1) / np.maximum(count, 1), self.outside)


def pack(truth: GroundTruth, results: Results) -> Packed:
    """Compare the best `MAX_POSES` poses of every image with all people of that image.

    The similarity of a keypoint is exp(-d^2 / (2 area (2 sigma)^2)), d in pixels, sigma the layout's OKS sigma.
    """
    image_ids = sorted(truth.image_ids())
    people = pack_people(truth, image_ids)
    flat = np.array([pose["keypoints"] for pose in results.poses], dtype=np.float64)
    triplets = flat.reshape(-1, len(truth.layout), 3)
    extent = np.ptp(triplets[..., :2], axis=1)  # pycocotools' area of a pose: that of its keypoints' box
    poses = pack_detections(results.poses, extent[:, 0] * extent[:, 1], image_ids, MAX_POSES)
    keypoints = triplets[poses.source, :, :2]
    pairs = pair_up(poses.image, people.image, len(image_ids))
    similarity = compare(keypoints, people, pairs, truth.layout)
    outside = _outside_similarity(keypoints, people, pairs, truth.layout)
    return Packed(truth, people, poses, keypoints, pairs, similarity, outside, len(image_ids))


def compare(keypoints: np.ndarray, people: People, pairs: Pairs, layout: Layout) -> np.ndarray:
    """Return the similarity of each keypoint of every pair, (M, K) float in [0, 1].

    Args:
        keypoints: (P, K, 2) the poses', x y in image pixels.
        people: the truth.
        pairs: (M,) poses and people.
        layout: with K OKS sigmas.
    """
    similarity = np.empty((len(pairs.pose), len(layout)))
    for block in _blocks(len(pairs.pose)):
        pose, person = pairs.pose[block], pairs.person[block]
        similarity[block] = _similarity(keypoints[pose] - people.keypoints[person], people.area[person], layout)
    return similarity


def pack_people(truth: GroundTruth, image_ids: Sequence[int]) -> People:
    """Return the people as arrays, ordered by image."""
    place = {image_id: index for index, image_id in enumerate(image_ids)}
    image = np.array([place[annotation["image_id"]] for annotation in truth.annotations], dtype=np.int64)
    order = np.argsort(image, kind="stable")
    annotations = [truth.annotations[index] for index in order]
    keypoints = _column(annotations, "keypoints", (len(truth.layout), 3))
    return People(
        image=image[order],
        keypoints=keypoints[..., :2],
        visibility=keypoints[..., 2],
        boxes=_column(annotations, "bbox", (4,)),
        area=_column(annotations, "area", ()),
        num_keypoints=_column(annotations, "num_keypoints", ()).astype(np.int64),
        crowd=_column(annotations, "iscrowd", ()).astype(bool),
        source=order,
    )


def pack_detections(
    records: Sequence[Record], area: np.ndarray, image_ids: Sequence[int], most_per_image: int
) -> Detections:
    """Return the best detections of every image; of equal scores the first given is better, as in pycocotools."""
    place = {image_id: index for index, image_id in enumerate(image_ids)}
    image = np.array([place[record["image_id"]] for record in records], dtype=np.int64)
    scores = _column(records, "score", ())
    order = np.lexsort((np.arange(len(records)), -scores, image))
    order = order[_rank(image[order], len(image_ids)) < most_per_image]
    return Detections(image=image[order], scores=scores[order], area=area[order], source=order)


def pair_up(of_pose: np.ndarray, of_person: np.ndarray, num_images: int) -> Pairs:
    """Pair every pose with every person of its image.

    Args:
        of_pose: (P,) int, image of each pose, ascending.
        of_person: (N,) int, image of each person, ascending.
        num_images: how many images there are.
    """
    people = np.bincount(of_person, minlength=num_images)
    first = np.concatenate(([0], np.cumsum(people)))[:-1]
    repeats = people[of_pose]
    pose = np.repeat(np.arange(len(of_pose)), repeats)
    within = np.arange(len(pose)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    return Pairs(pose=pose, person=first[of_pose[pose]] + within)


def pair_index(pairs: Pairs, pose: np.ndarray, person: np.ndarray) -> np.ndarray:
    """Return where the pairs of these poses, (F,) int, with these people of their images, (F,) int, are."""
    first = np.searchsorted(pairs.pose, pose)  # pairs of a pose are its image's people in order
    return first + person - pairs.person[first]


def _rank(image: np.ndarray, num_images: int) -> np.ndarray:
    """Return the position of every entry within its image; entries are ordered by image."""
    counts = np.bincount(image, minlength=num_images)
    return np.arange(len(image)) - np.repeat(np.cumsum(counts) - counts, counts)


def _column(records: Sequence[Record], key: str, shape: tuple[int, ...]) -> np.ndarray:
    values = np.array([record[key] for record in records], dtype=np.float64)
    return values.reshape(len(records), *shape)


def _blocks(count: int) -> Iterator[slice]:
    """Yield slices of all pairs, so that what is between the steps stays small."""
    return (slice(start, start + _BLOCK) for start in range(0, count, _BLOCK))


def _similarity(offset: np.ndarray, area: np.ndarray, layout: Layout) -> np.ndarray:
    """Return the similarity for distances: (m, K, 2) pixels and (m,) square pixels to (m, K) in [0, 1]."""
    falloff = (2 * np.array(layout.oks_sigmas)) ** 2
    return np.exp(-(offset[..., 0] ** 2 + offset[..., 1] ** 2) / falloff / (area + np.spacing(1))[:, None] / 2)


def _outside_similarity(keypoints: np.ndarray, people: People, pairs: Pairs, layout: Layout) -> np.ndarray:
    """Return OKS with people who have no labelled keypoint, (M,): how far points lie outside of their doubled box.

    Source: pycocotools `COCOeval.computeOks`.
    """
    oks = np.empty(len(pairs.pose))
    for block in _blocks(len(oks)):
        person = pairs.person[block]
        points, boxes_xywh = keypoints[pairs.pose[block]], people.boxes[person, None]
        corner, side = boxes_xywh[..., :2], boxes_xywh[..., 2:]
        beyond = np.maximum(0, corner - side - points) + np.maximum(0, points - (corner + side * 2))
        oks[block] = _similarity(beyond, people.area[person], layout).mean(axis=1)
    return oks
