"""From refined poses to the frame's people: rescoring, and one pose a person."""

from __future__ import annotations

import torch
from torch import Tensor

from posecli.config import MergeConfig
from posecli.geometry.boxes import area
from posecli.geometry.oks import oks_nms
from posecli.records import Candidates, Poses
from posecli.skeleton import OKS_SIGMAS


def merge(candidates: Candidates, keypoints: Tensor, keypoint_scores: Tensor, config: MergeConfig) -> Poses:
    """Score the refined poses, keep the best of each heap, and sort them, best first.

    A person's box is the candidate's own: where the detector, or the filter, saw it. OKS takes that box's area.

    Args:
        candidates: N people, as the refiner saw them.
        keypoints: (N, K, 2) refined, x y, image pixels.
        keypoint_scores: (N, K) refined; clamped to [0, 1], NaN counts as 0.
        config: thresholds.
    """
    keypoint_scores = torch.nan_to_num(keypoint_scores.float(), nan=0.0).clamp(0, 1)
    scores = pose_scores(candidates.box_scores, keypoint_scores, min_keypoint_score=config.min_keypoint_score)
    kept = oks_nms(
        keypoints.float(),
        scores,
        area=area(candidates.boxes).clamp(min=1),
        sigmas=keypoints.new_tensor(OKS_SIGMAS, dtype=torch.float32),
        max_oks=config.max_oks,
    )
    kept = kept[scores[kept] >= config.min_score]
    return Poses(
        candidates.boxes[kept],
        keypoints[kept].float(),
        keypoint_scores[kept],
        scores[kept],
        tuple(candidates.origins[index] for index in kept.tolist()),
    )


def pose_scores(box_scores: Tensor, keypoint_scores: Tensor, *, min_keypoint_score: float) -> Tensor:
    """Return the (N,) box scores times the mean of the keypoint scores above `min_keypoint_score`.

    Where no keypoint is above, the mean of all counts, so that such poses still have an order (HRNet gives them 0).

    Args:
        box_scores: (N,) in [0, 1].
        keypoint_scores: (N, K) in [0, 1].
        min_keypoint_score: in [0, 1].

    Source: HRNet `COCODataset.evaluate`, `in_vis_thre`.
    """
    counted = keypoint_scores > min_keypoint_score
    counted = counted | ~counted.any(dim=1, keepdim=True)
    mean = (keypoint_scores * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1)
    return (box_scores * mean).clamp(0, 1)
