"""The same number for the same person in every frame of a video, also after a second behind somebody else.

People go on as they went. Where they are expected, and where they are, is compared by their keypoints (OKS) and their
boxes (IoU); the pairing that fits best in all is taken. Only what went before counts, so that a number never changes.

Source: the parts are SORT's (Bewley et al., ICIP 2016), with OKS beside IoU as in PoseTrack's baselines, boxes that
grow while nobody is seen as in C-BIoU (Yang et al., WACV 2023), and people in sight served first as in DeepSORT.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from posecli.geometry.assignment import assign
from posecli.geometry.boxes import area, pairwise_iou
from posecli.geometry.oks import keypoint_similarity
from posecli.records import Poses
from posecli.skeleton import OKS_SIGMAS

_MIN_SIMILARITY = 0.12  # mean of OKS and IoU; below, two poses are never one person
_VELOCITY_S = 0.4  # time constant of the mean over velocities
_COASTING_S = 2.0  # time constant of the walk of somebody who is out of sight: nobody walks straight on for ever
_SLACK = 0.1  # boxes grow by this fraction of their size to each side before they are compared
_SLACK_PER_S = 0.4  # and by this much more for every second out of sight
_MAX_SLACK = 0.6


@dataclass(frozen=True, slots=True)
class _Track:
    """Somebody, as last seen."""

    number: int
    box: Tensor  # (4,) xyxy
    keypoints: Tensor  # (K, 2)
    scores: Tensor  # (K,)
    velocity: Tensor  # (2,) pixels a second
    time_s: float


class Tracker:
    """Call it with the people of one frame after the other.

    Args:
        max_gap: seconds out of sight after which somebody who comes back is somebody new.
    """

    def __init__(self, *, max_gap: float) -> None:
        self._max_gap = max_gap
        self._tracks: list[_Track] = []
        self._num_people = 0
        self._before_s = -math.inf  # time of the frame before

    def __call__(self, poses: Poses, time_s: float) -> Poses:
        """Return the people with their `track_ids`, which count from 1.

        Args:
            poses: in the frame's pixels.
            time_s: the frame's time stamp.
        """
        tracks = [track for track in self._tracks if time_s - track.time_s <= self._max_gap]
        in_sight = [track for track in tracks if track.time_s >= self._before_s]
        hidden = [track for track in tracks if track.time_s < self._before_s]
        owners: dict[int, _Track] = {}
        for group in (in_sight, hidden):  # who was there a moment ago has the first claim
            free = [index for index in range(len(poses)) if index not in owners]
            owners |= _matched(group, poses, free, time_s)
        seen = [self._seen(owners.get(index), poses, index, time_s) for index in range(len(poses))]
        claimed = {track.number for track in seen}
        self._tracks = [*seen, *(track for track in tracks if track.number not in claimed)]
        self._before_s = time_s
        return replace(poses, track_ids=tuple(track.number for track in seen))

    def _seen(self, track: _Track | None, poses: Poses, index: int, time_s: float) -> _Track:
        now = (poses.boxes[index], poses.keypoints[index], poses.keypoint_scores[index])
        if track is None:
            self._num_people += 1
            return _Track(self._num_people, *now, torch.zeros(2), time_s)
        gap = time_s - track.time_s
        if gap <= 0:  # two frames with one time stamp say nothing of speed
            return _Track(track.number, *now, track.velocity, time_s)
        weights = (track.scores * now[2]).clamp(min=1e-6)
        moved = ((now[1] - track.keypoints) * weights[:, None]).sum(0) / weights.sum()
        share = 1 - math.exp(-gap / _VELOCITY_S)
        return _Track(track.number, *now, track.velocity + share * (moved / gap - track.velocity), time_s)


def _matched(tracks: Sequence[_Track], poses: Poses, free: Sequence[int], time_s: float) -> dict[int, _Track]:
    """Say which of the free poses belong to which of the tracks, by the poses' index."""
    if not tracks or not free:
        return {}
    similarity = _similarity(tracks, poses, torch.tensor(free), time_s).double()
    impossible = float(len(free) + len(tracks))  # dearer than all that can be paired together
    costs = torch.where(similarity >= _MIN_SIMILARITY, 1 - similarity, impossible).tolist()
    return {free[column]: tracks[row] for row, column in assign(costs) if costs[row][column] < impossible}


def _similarity(tracks: Sequence[_Track], poses: Poses, free: Tensor, time_s: float) -> Tensor:
    """Compare where T people are expected with F poses: (T, F) in [0, 1]."""
    gaps = torch.tensor([max(0.0, time_s - track.time_s) for track in tracks])
    coasted = _COASTING_S * (1 - torch.exp(-gaps / _COASTING_S))
    shift = torch.stack([track.velocity for track in tracks]) * coasted[:, None]  # (T, 2)
    slack = (_SLACK + _SLACK_PER_S * gaps).clamp(max=_MAX_SLACK)
    expected = _grown(torch.stack([track.box for track in tracks]) + shift.repeat(1, 2), slack)
    found = poses.boxes[free]
    rows = zip(expected.split(1), slack.split(1), strict=True)
    iou = torch.cat([pairwise_iou(box, _grown(found, amount)) for box, amount in rows])
    keypoints = torch.stack([track.keypoints for track in tracks]) + shift[:, None]
    sizes = (area(expected)[:, None] + area(found)[None]).clamp(min=2) / 2  # (T, F)
    near = keypoint_similarity(
        keypoints, poses.keypoints[free], area=sizes, sigmas=keypoints.new_tensor(OKS_SIGMAS)
    )  # (T, F, K)
    weights = torch.stack([track.scores for track in tracks])[:, None] * poses.keypoint_scores[free][None]
    oks = (near * weights).sum(-1) / weights.sum(-1).clamp(min=1e-6)
    return (iou + oks) / 2


def _grown(boxes: Tensor, slack: Tensor) -> Tensor:
    """Grow (N, 4) boxes by (N,) fractions of their sizes to each side."""
    margin = (boxes[:, 2:] - boxes[:, :2]) * slack[:, None]
    return torch.cat((boxes[:, :2] - margin, boxes[:, 2:] + margin), dim=1)
