"""Keypoints without jitter: the One-Euro filter, on real time steps.

Source: Casiez, Roussel, Vogel: "1 Euro Filter", CHI 2012. The slower a keypoint, the lower the cutoff frequency:
jitter shows at rest, lag in motion.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from posecli.geometry.boxes import area
from posecli.records import Poses

_MIN_CUTOFF_HZ = 1.5  # of a keypoint at rest
_CUTOFF_PER_SPEED = 3.0  # Hz more for each person's size (square root of the box's area) that it moves in a second
_SPEED_CUTOFF_HZ = 1.0  # of the speed itself
_MIN_SCORE = 0.2  # less sure keypoints stay where they are and tell nothing of the next ones


@dataclass(frozen=True, slots=True)
class _State:
    """A person's keypoints when they were last sure; NaN where they never were."""

    raw: Tensor  # (K, 2)
    smooth: Tensor  # (K, 2)
    velocity: Tensor  # (K, 2) smoothed, pixels a second
    times_s: Tensor  # (K,) float64
    seen_s: float


class Smoother:
    """Call it with the tracked people of one frame after the other.

    Args:
        max_gap: seconds out of sight after which a keypoint, or a person, starts anew.
    """

    def __init__(self, *, max_gap: float) -> None:
        self._max_gap = max_gap
        self._states: dict[int, _State] = {}  # by track id

    def __call__(self, poses: Poses, time_s: float) -> Poses:
        """Return the people with smoothed keypoints; `raw_keypoints` keeps what they were.

        Args:
            poses: with `track_ids`.
            time_s: the frame's time stamp.
        """
        self._states = {
            number: state for number, state in self._states.items() if time_s - state.seen_s <= self._max_gap
        }
        sizes = area(poses.boxes).clamp(min=1).sqrt().tolist()
        rows = zip(poses.track_ids, poses.keypoints, poses.keypoint_scores, sizes, strict=True)
        smooth = [self._person(number, points, scores, size, time_s) for number, points, scores, size in rows]
        keypoints = torch.stack(smooth) if smooth else poses.keypoints
        return replace(poses, keypoints=keypoints, raw_keypoints=poses.keypoints)

    def _person(self, number: int, points: Tensor, scores: Tensor, size: float, time_s: float) -> Tensor:
        """Smooth (K, 2) points."""
        state = self._states.get(number) or _unknown(points)
        sure = (scores >= _MIN_SCORE)[:, None]  # (K, 1)
        steps = (time_s - state.times_s)[:, None].to(points)  # (K, 1) seconds; NaN where there is nothing before
        follows = (steps > 0) & (steps <= self._max_gap)
        velocity = torch.where(follows, (points - state.raw) / steps, 0.0)
        velocity = state.velocity + _share(_SPEED_CUTOFF_HZ, steps) * (velocity - state.velocity)
        speed = velocity.norm(dim=1, keepdim=True) / size
        smooth = state.smooth + _share(_MIN_CUTOFF_HZ + _CUTOFF_PER_SPEED * speed, steps) * (points - state.smooth)
        smooth, velocity = torch.where(follows, smooth, points), torch.where(follows, velocity, 0.0)
        times_s = torch.full_like(state.times_s, time_s)
        self._states[number] = _State(
            raw=torch.where(sure, points, state.raw),
            smooth=torch.where(sure, smooth, state.smooth),
            velocity=torch.where(sure, velocity, state.velocity),
            times_s=torch.where(sure[:, 0], times_s, state.times_s),
            seen_s=time_s,
        )
        return torch.where(sure, smooth, points)


def _unknown(points: Tensor) -> _State:
    nothing = torch.full_like(points, math.nan)
    times_s = torch.full((len(points),), math.nan, dtype=torch.float64)
    return _State(nothing, nothing, torch.zeros_like(points), times_s, math.nan)


def _share(cutoff_hz: Tensor | float, steps_s: Tensor) -> Tensor:
    """Return how much of a change a low-pass filter of this cutoff lets through after this time."""
    angle = 2 * math.pi * cutoff_hz * steps_s
    return angle / (1 + angle)
