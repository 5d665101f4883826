"""PCK: the share of keypoints that lie within a distance of the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from posecli.evaluation.coco_scores import Scored
from posecli.evaluation.nearest import Nearest

_BOX_SHARES: tuple[float, ...] = (0.05, 0.1, 0.2)
_HEAD_SHARES: tuple[float, ...] = (0.1, 0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pck:
    """Shares of labelled keypoints found, of people who were not found at all included."""

    normaliser: str  # what distances are divided by
    at: dict[str, float]  # share found, by largest distance in units of the normaliser
    by_keypoint: dict[str, float]  # at the last of these
    num_keypoints: int


def pck(scored: Scored, near: Nearest) -> Pck:
    """Return PCK of everybody, by the pose that found each (OKS .1 or more).

    The normaliser is the longer side of the true box; where the truth knows heads (MPII), PCKh's head size.
    """
    packed = scored.packed
    head = np.array([packed.truth.annotations[index].get("head_size", 0.0) for index in packed.people.source])
    if head.any():
        unit, shares, normaliser = head, _HEAD_SHARES, "head size (PCKh: .6 x the head box's diagonal)"
    else:
        unit, shares, normaliser = packed.people.boxes[:, 2:].max(axis=1), _BOX_SHARES, "longer side of the true box"
    asked = scored.labelled & scored.counted[:, None] & (unit > 0)[:, None]  # (N, K)
    distance = np.full(asked.shape, np.inf)
    offset = packed.keypoints[near.pose] - packed.people.keypoints[near.person]
    distance[near.person] = np.hypot(offset[..., 0], offset[..., 1])
    relative = np.divide(distance, unit[:, None], out=np.full(asked.shape, np.inf), where=asked)
    names = packed.truth.layout.keypoints
    per_keypoint = asked.sum(axis=0)
    close = (relative <= shares[-1]).sum(axis=0)
    total = int(asked.sum())
    return Pck(
        normaliser=normaliser,
        at={f"{share:g}": float((relative <= share).sum()) / max(1, total) for share in shares},
        by_keypoint={
            name: float(hits / count) for name, hits, count in zip(names, close, per_keypoint, strict=True) if count
        },
        num_keypoints=total,
    )
