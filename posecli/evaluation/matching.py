"""COCO's greedy matching and its precision-recall curves, for all images at once.

Equal to pycocotools `COCOeval.evaluateImg` and `accumulate` to the last digits, and many times faster: a step is one
rank of pose in all images together, not one pose of one image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from posecli.evaluation.packing import Detections, Pairs

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of OKS or IoU
AT_50, AT_75 = 0, 5  # places among THRESHOLDS
RECALLS = np.linspace(0.0, 1.0, 101)
NOBODY = -1


@dataclass(frozen=True, slots=True)
class Matches:
    """Who was found by which pose, at each of T thresholds."""

    person: np.ndarray  # (T, P) int, index of the person that a pose found; NOBODY: none
    found: np.ndarray  # (T, P) bool, true positives
    wrong: np.ndarray  # (T, P) bool, false positives; poses that count neither way are in neither
    counted: np.ndarray  # (N,) bool, the people to be found


@dataclass(frozen=True, slots=True)
class Curves:
    """Precision over recall at each of T thresholds."""

    precision: np.ndarray  # (T, 101) float, the best at RECALLS or higher; 0 where that recall is not reached
    recall: np.ndarray  # (T,) float, the highest

    @property
    def ap(self) -> float:
        """Average precision over all thresholds."""
        return float(self.precision.mean())

    def ap_at(self, place: int) -> float:
        """Average precision at one threshold."""
        return float(self.precision[place].mean())

    @property
    def ar(self) -> float:
        """Average recall over all thresholds."""
        return float(self.recall.mean())


def match(
    similarity: np.ndarray,
    pairs: Pairs,
    image: np.ndarray,
    *,
    counted: np.ndarray,
    crowd: np.ndarray,
    thresholds: np.ndarray = THRESHOLDS,
) -> np.ndarray:
    """Let every pose, best first, find the person most like it that nobody found yet.

    People who do not count are found only by poses that find nobody else; crowds can be found again and again.

    Args:
        similarity: (M,) float in [0, 1], OKS or IoU of the pairs.
        pairs: (M,) poses and people of the same image, from `pair_up`.
        image: (P,) int, the poses' images, ascending; poses are ordered by score within an image.
        counted: (N,) bool, the people to be found.
        crowd: (N,) bool.
        thresholds: (T,) float, the least similarity of a find.

    Returns:
        (T, P) int, index of the person found, or NOBODY.

    Source: pycocotools `COCOeval.evaluateImg`, of equal similarities the last person included.
    """
    found = np.full((len(thresholds), len(image)), NOBODY)
    if not len(pairs.pose):
        return found
    levels = np.minimum(thresholds, 1 - 1e-10)[:, None, None]
    start = np.flatnonzero(np.diff(pairs.pose, prepend=-1))  # first pair of each pose that has any
    pose = pairs.pose[start]
    people = np.diff(start, append=len(pairs.pose))
    rank = np.arange(len(pose)) - np.searchsorted(image[pose], image[pose])
    widths = 1 << np.ceil(np.log2(people)).astype(int)  # images with alike numbers of people go together
    for width in np.unique(widths):
        rows = np.flatnonzero(widths == width)
        block = _Block(start[rows], people[rows], image[pose[rows]], rank[rows], int(width))
        block.match(similarity, pairs, levels, counted, crowd, found)
    return found


class _Block:
    """Images with up to `width` people each, padded to that."""

    def __init__(self, start: np.ndarray, people: np.ndarray, image: np.ndarray, rank: np.ndarray, width: int) -> None:
        """Take one row a pose: its first pair, number of pairs, image and rank in the image."""
        self.start, self.people, self.rank, self.width = start, people, rank, width
        _, self.slot = np.unique(image, return_inverse=True)  # (rows,) which image of the block
        self.num_images = int(self.slot.max()) + 1

    def match(
        self,
        similarity: np.ndarray,
        pairs: Pairs,
        levels: np.ndarray,
        counted: np.ndarray,
        crowd: np.ndarray,
        found: np.ndarray,
    ) -> None:
        """Write the people found into `found`, (T, P)."""
        taken = np.zeros((len(levels), self.num_images, self.width), dtype=bool)
        columns = np.arange(self.width)
        for rank in range(int(self.rank.max()) + 1):
            rows = np.flatnonzero(self.rank == rank)
            real = columns < self.people[rows, None]  # (rows, width)
            pair = np.where(real, self.start[rows, None] + columns, 0)
            person = pairs.person[pair]
            alike = np.where(real, similarity[pair], -1.0)
            # One whole number orders the candidates: those who count first, then likeness, of equals the last.
            order = np.argsort(alike, axis=1, kind="stable").argsort(axis=1) + self.width * counted[person]
            slot = self.slot[rows]
            open_ = (alike >= levels) & (~taken[:, slot] | crowd[person])  # (T, rows, width)
            wish = np.where(open_, order, -1)
            best = wish.argmax(axis=2)
            level, row = np.nonzero(np.take_along_axis(wish, best[..., None], axis=2)[..., 0] >= 0)
            column = best[level, row]
            taken[level, slot[row], column] = True
            found[level, pairs.pose[self.start[rows[row]]]] = person[row, column]


def judge(person: np.ndarray, *, counted: np.ndarray, countable: np.ndarray) -> Matches:
    """Say which poses are true and which are false positives.

    Args:
        person: (T, P) int from `match`.
        counted: (N,) bool, the people to be found; who finds another counts neither way.
        countable: (P,) bool, poses that are false when they find nobody; the others count neither way then.
    """
    someone = person != NOBODY
    found = someone & counted[np.maximum(person, 0)] if len(counted) else someone
    return Matches(person=person, found=found, wrong=~someone & countable, counted=counted)


@dataclass(frozen=True, slots=True)
class Ranked:
    """What poses found, surest pose of all images first; of equal scores the first is better."""

    hits: tuple[np.ndarray, ...]  # for each threshold, the places of the true positives
    wrong: np.ndarray  # (T, P) bool
    image: np.ndarray  # (P,) int

    def curves(self, num_counted: float, drawn: np.ndarray | None = None) -> Curves:
        """Return precision over recall.

        Precision is best, and recall changes, at true positives only, so nothing else is looked at.

        Args:
            num_counted: people to be found, above 0.
            drawn: how often each image is there, by its index, for resampled images; default: once.

        Source: pycocotools `COCOeval.accumulate`.
        """
        weight = np.ones(len(self.image)) if drawn is None else drawn[self.image].astype(float)
        precision, highest = np.zeros((len(self.hits), len(RECALLS))), np.zeros(len(self.hits))
        for level, (hits, wrong) in enumerate(zip(self.hits, self.wrong, strict=True)):
            true, false = np.cumsum(weight[hits]), np.cumsum(weight * wrong)[hits]
            recall = true / num_counted
            best = np.maximum.accumulate((true / (false + true + np.spacing(1)))[::-1])[::-1]
            place = np.searchsorted(recall, RECALLS, side="left")
            reached = place < len(hits)
            precision[level, reached] = best[place[reached]]
            highest[level] = recall[-1] if len(hits) else 0.0
        return Curves(precision=precision, recall=highest)


def rank(matches: Matches, poses: Detections) -> Ranked:
    """Order what poses found by their scores."""
    order = np.argsort(-poses.scores, kind="stable")
    hits = tuple(np.flatnonzero(row) for row in matches.found[:, order])
    return Ranked(hits, matches.wrong[:, order], poses.image[order])
