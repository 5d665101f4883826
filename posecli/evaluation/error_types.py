"""The localization errors of Ronchi & Perona: what kind of mistake a misplaced keypoint is.

Source: Ronchi and Perona, "Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation", ICCV 2017, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from posecli.evaluation.coco_scores import Scored, score
from posecli.evaluation.nearest import Nearest
from posecli.evaluation.packing import Packed, compare

GOOD_SIMILARITY = 0.85  # a keypoint is right from here on; as far off as people who annotate are from one another
NEAR_SIMILARITY = 0.5  # it is near a keypoint from here on
# Close by; at the other side of the same body; at somebody else's keypoint; nowhere near one.
KINDS = ("jitter", "inversion", "swap", "miss")
_GOOD = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorType:
    """One kind of mistake."""

    name: str
    share: float  # of the keypoints judged
    ap_without: float  # AP if every keypoint of this kind were where the truth is


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorTypes:
    """The labelled keypoints of the people found (OKS .1 or more), and what is wrong with them."""

    num_keypoints: int
    good: float  # share
    kinds: tuple[ErrorType, ...]  # in the order of KINDS
    by_keypoint: dict[str, dict[str, float]]  # share of every kind, "good" included


def error_types(scored: Scored, near: Nearest) -> ErrorTypes:
    """Tell every labelled keypoint of the people found as good or as one of KINDS."""
    kind = keypoint_kinds(scored, near)
    asked = scored.labelled[near.person]
    names = scored.packed.truth.layout.keypoints
    kinds = []
    for place, name in enumerate(KINDS):
        wrong = asked & (kind == place)
        kinds.append(ErrorType(name=name, share=_share(wrong, asked), ap_without=_ap_without(scored, near, wrong)))
    by_keypoint = {
        name: {"good": _share(asked[:, k] & (kind[:, k] == _GOOD), asked[:, k])}
        | {label: _share(asked[:, k] & (kind[:, k] == place), asked[:, k]) for place, label in enumerate(KINDS)}
        for k, name in enumerate(names)
        if asked[:, k].any()
    }
    return ErrorTypes(
        num_keypoints=int(asked.sum()),
        good=_share(asked & (kind == _GOOD), asked),
        kinds=tuple(kinds),
        by_keypoint=by_keypoint,
    )


def keypoint_kinds(scored: Scored, near: Nearest) -> np.ndarray:
    """Return the kind of every keypoint of those found, (F, K) int: index in KINDS, or -1 for a good one.

    A keypoint that is not near its truth is an inversion when it is near the mirrored keypoint of the same person, a
    swap when it is near the same or the mirrored keypoint of another person, whichever is nearer, else a miss.
    """
    packed = scored.packed
    own = near.similarity(scored)  # (F, K)
    mirror = np.array(packed.truth.layout.mirror)
    mirrored = np.where(mirror == np.arange(len(mirror)), 0.0, _mirrored_similarity(packed, mirror))  # (M, K)
    labelled = scored.labelled[packed.pairs.person]
    mirrored = np.where(labelled[:, mirror], mirrored, 0.0)
    straight = np.where(labelled, packed.similarity, 0.0)
    inverted = mirrored[near.pair]
    swapped = _best_of_others(np.maximum(straight, mirrored), packed, near)
    kind = np.full(own.shape, KINDS.index("miss"))
    kind[(swapped >= NEAR_SIMILARITY) & (swapped >= inverted)] = KINDS.index("swap")
    kind[(inverted >= NEAR_SIMILARITY) & (inverted > swapped)] = KINDS.index("inversion")
    kind[own >= NEAR_SIMILARITY] = KINDS.index("jitter")
    kind[own >= GOOD_SIMILARITY] = _GOOD
    return kind


def _mirrored_similarity(packed: Packed, mirror: np.ndarray) -> np.ndarray:
    """Return how near each keypoint of a pair's pose is to the mirrored keypoint of its person, (M, K)."""
    people = replace(packed.people, keypoints=packed.people.keypoints[:, mirror])
    return compare(packed.keypoints, people, packed.pairs, packed.truth.layout)


def _best_of_others(similarity: np.ndarray, packed: Packed, near: Nearest) -> np.ndarray:
    """Return the largest similarity with any person of the image but the one found, (F, K)."""
    others = similarity.copy()
    others[near.pair] = 0.0
    largest = np.zeros((len(packed.poses.scores), similarity.shape[1]))
    np.maximum.at(largest, packed.pairs.pose, others)
    return largest[near.pose]


def _ap_without(scored: Scored, near: Nearest, wrong: np.ndarray) -> float:
    """Return AP with the wrong keypoints, (F, K) bool, put where the truth has them."""
    packed = scored.packed
    keypoints = packed.keypoints.copy()
    keypoints[near.pose] = np.where(wrong[..., None], packed.people.keypoints[near.person], keypoints[near.pose])
    similarity = compare(keypoints, packed.people, packed.pairs, packed.truth.layout)
    mended = replace(packed, keypoints=keypoints, similarity=similarity)
    return score(mended, scored.labelled).curves.ap


def _share(part: np.ndarray, whole: np.ndarray) -> float:
    return float(part.sum()) / max(1, int(whole.sum()))
