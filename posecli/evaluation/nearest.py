"""Which person a pose is of, however badly: the loose matching behind error types, PCK and groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from posecli.evaluation.coco_scores import Scored
from posecli.evaluation.matching import NOBODY, match
from posecli.evaluation.packing import pair_index

LEAST_OKS = 0.1  # below, a pose is of nobody. Source: Ronchi & Perona, ICCV 2017, section 3


@dataclass(frozen=True, slots=True)
class Nearest:
    """People found at all, one pose each, and what the other poses are most like."""

    pose: np.ndarray  # (F,) int, ascending
    person: np.ndarray  # (F,) int, whom that pose found
    oks: np.ndarray  # (F,) float
    pair: np.ndarray  # (F,) int, index of the pair
    home: np.ndarray  # (P,) int, the person each pose is most like, found or not; NOBODY: OKS below LEAST_OKS

    def similarity(self, scored: Scored) -> np.ndarray:
        """Return the similarity of the keypoints of those found, (F, K) float in [0, 1]."""
        return scored.packed.similarity[self.pair]


def nearest(scored: Scored) -> Nearest:
    """Match as COCO does, but from OKS .1 on."""
    packed = scored.packed
    (found,) = match(
        scored.oks, packed.pairs, packed.poses.image,
        counted=scored.counted, crowd=packed.people.crowd, thresholds=np.array([LEAST_OKS]),
    )  # fmt: skip
    pose = np.flatnonzero((found != NOBODY) & scored.counted[np.maximum(found, 0)] if len(scored.counted) else [])
    person = found[pose]
    pair = pair_index(packed.pairs, pose, person)
    return Nearest(pose=pose, person=person, oks=scored.oks[pair], pair=pair, home=_home(scored))


def _home(scored: Scored) -> np.ndarray:
    pairs, home = scored.packed.pairs, np.full(len(scored.packed.poses.scores), NOBODY)
    order = np.lexsort((scored.oks, pairs.pose))  # the last pair of each pose is the most alike
    last = order[np.flatnonzero(np.diff(pairs.pose[order], append=-1))]
    alike = last[scored.oks[last] >= LEAST_OKS]
    home[pairs.pose[alike]] = pairs.person[alike]
    return home
