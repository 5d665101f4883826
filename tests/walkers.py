"""People who walk through a picture: poses whose keypoints, boxes and names are known in every frame."""

from __future__ import annotations

import math

import torch

from posecli.records import Poses

_FIGURE = torch.tensor(  # of a person 100 pixels tall, from the hip's middle
    [
        (0, -50), (2, -53), (-2, -53), (5, -51), (-5, -51), (10, -38), (-10, -38), (13, -20), (-13, -20),
        (14, -4), (-14, -4), (7, 0), (-7, 0), (8, 23), (-8, 23), (8, 46), (-8, 46),
    ],
    dtype=torch.float32,
)  # fmt: skip
_SWING = torch.tensor([0, 0, 0, 0, 0, 0, 0, 3, -3, 9, -9, 0, 0, 5, -5, 14, -14], dtype=torch.float32)


def person(x, y, time_s, *, tall=100.0, noise=0.0, score=0.9):
    """One walker at a place: (17, 2) keypoints, (17,) scores and the box (4,)."""
    points = _FIGURE.clone()
    points[:, 0] += _SWING * math.sin(time_s * 2 * math.pi)
    points = points * tall / 100 + torch.tensor([x, y]) + torch.randn(17, 2) * noise
    low, high = points.amin(0) - 0.05 * tall, points.amax(0) + 0.05 * tall
    return points, torch.full((17,), score), torch.cat((low, high))


def poses(people):
    """Poses of `person`s."""
    if not people:
        return Poses.empty()
    points, scores, boxes = (torch.stack(part) for part in zip(*people, strict=True))
    return Poses(boxes, points, scores, scores.mean(1), ("proposal",) * len(people))
