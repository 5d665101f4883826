"""What a pose's score means: how often poses of that score are right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from posecli.evaluation.coco_scores import Scored
from posecli.evaluation.matching import AT_50

_NUM_BINS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """The poses whose score lies in one tenth of [0, 1]."""

    low: float
    high: float
    num_poses: int
    score: float  # mean
    share_right: float  # found somebody at OKS .5 or more


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """A reliability diagram, bins without poses left out."""

    bins: tuple[Bin, ...]
    error: float | None  # mean of |score - share right| over poses, by bins; None: no poses


def calibration(scored: Scored) -> Calibration:
    """Compare scores with the share of right poses; poses on people who do not count are left out."""
    found, wrong = scored.matches.found[AT_50], scored.matches.wrong[AT_50]
    judged = found | wrong
    scores, right = scored.packed.poses.scores[judged], found[judged]
    place = np.clip((scores * _NUM_BINS).astype(int), 0, _NUM_BINS - 1)
    bins = tuple(_bin(index, scores[place == index], right[place == index]) for index in np.unique(place))
    error = sum(item.num_poses * abs(item.score - item.share_right) for item in bins) / len(scores) if bins else None
    return Calibration(bins=bins, error=error)


def _bin(index: int, scores: np.ndarray, right: np.ndarray) -> Bin:
    return Bin(
        low=float(index / _NUM_BINS),
        high=float((index + 1) / _NUM_BINS),
        num_poses=len(scores),
        score=float(scores.mean()),
        share_right=float(right.mean()),
    )
