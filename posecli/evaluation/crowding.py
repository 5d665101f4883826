"""How much people overlap."""

from __future__ import annotations

import numpy as np

from posecli.evaluation.packing import People, pair_up
from posecli.evaluation.truth import GroundTruth


def max_iou(truth: GroundTruth, people: People) -> np.ndarray:
    """Return everybody's largest box IoU with another annotated person, (N,) float in [0, 1].

    OCHuman's own file says it (`max_iou`); elsewhere it is measured, crowds left out.

    Source: Zhang et al., "Pose2Seg: Detection Free Human Instance Segmentation", CVPR 2019 (OCHuman's MaxIoU).
    """
    pairs = pair_up(people.image, people.image, int(people.image.max(initial=0)) + 1)
    one, other = people.boxes[pairs.pose], people.boxes[pairs.person]
    low = np.maximum(one[:, :2], other[:, :2])
    high = np.minimum(one[:, :2] + one[:, 2:], other[:, :2] + other[:, 2:])
    inside = np.prod(np.maximum(high - low, 0), axis=1)
    union = np.prod(one[:, 2:], axis=1) + np.prod(other[:, 2:], axis=1) - inside
    iou = np.divide(inside, union, out=np.zeros(len(inside)), where=union > 0)
    iou[(pairs.pose == pairs.person) | people.crowd[pairs.person]] = 0
    largest = np.zeros(len(people.image))
    np.maximum.at(largest, pairs.pose, iou)
    stated = [truth.annotations[index].get("max_iou") for index in people.source]
    return np.array([measured if own is None else own for own, measured in zip(stated, largest, strict=True)])
