"""From refined poses to the frame's people: rescoring, and one pose a person."""

from __future__ import annotations

import torch
from torch import Tensor

from posecli.config import MergeConfig
from posecli.geometry.boxes import area
from posecli.geometry.constants import constant
from posecli.geometry.oks import fuse, oks_nms, pose_similarity, soft_oks_nms
from posecli.records import Candidates, Poses
from posecli.skeleton import OKS_SIGMAS

_LEAST_CHANCE = 1e-6  # scores nearer to 0 and 1 have no finite odds in single precision


def merge(candidates: Candidates, keypoints: Tensor, keypoint_scores: Tensor, config: MergeConfig) -> Poses:
    """Score the refined poses, keep the best of each heap, and sort them, best first.

    A person's box is the candidate's own: where the detector, or the filter, saw it. OKS takes that box's area.

    Args:
        candidates: N people, as the refiner saw them.
        keypoints: (N, K, 2) refined, x y, image pixels.
        keypoint_scores: (N, K) refined; clamped to [0, 1], NaN counts as 0.
        config: thresholds.
    """
    keypoints = keypoints.float()
    keypoint_scores = torch.nan_to_num(keypoint_scores.float(), nan=0.0).clamp(0, 1)
    scores = pose_scores(candidates.box_scores, keypoint_scores, config)
    kept = torch.argsort(scores, descending=True, stable=True)
    if config.pose_nms != "none":
        sigmas = constant(OKS_SIGMAS, like=keypoints)
        alike = pose_similarity(keypoints, area=area(candidates.boxes).clamp(min=1), sigmas=sigmas)
        if config.pose_nms == "soft":
            scores = soft_oks_nms(alike, scores, sigma=config.soft_nms_sigma)
            kept = torch.argsort(scores, descending=True, stable=True)
        else:
            kept, owners = oks_nms(alike, scores, max_oks=config.max_oks)
            if config.pose_nms == "fusion":
                keypoints = keypoints.index_copy(0, kept, fuse(keypoints, alike, kept, owners))
    kept = kept[scores[kept] >= config.min_score]
    return Poses(
        candidates.boxes[kept],
        keypoints[kept],
        keypoint_scores[kept],
        scores[kept],
        tuple(candidates.origins[index] for index in kept.tolist()),
    )


def pose_scores(box_scores: Tensor, keypoint_scores: Tensor, config: MergeConfig) -> Tensor:
    """Return (N,) scores in [0, 1].

    "mean" is the box score times the mean of the keypoint scores (CPN, MSPN). "counted" takes the mean of those above
    `min_keypoint_score` (HRNet's `in_vis_thre`), and of all where none is above, so that such poses still have an order
    (HRNet gives them 0); box score and mean are weighed by `pose_share`, of which .5 is their product. "calibrated" is
    the counted score as the chance that the pose is right: a rising curve of it, so that the order stays.

    Args:
        box_scores: (N,) in [0, 1].
        keypoint_scores: (N, K) in [0, 1].
        config: which one.
    """
    mean = keypoint_scores.mean(dim=1)
    if config.pose_score == "mean":
        return (box_scores * mean).clamp(0, 1)
    counted = keypoint_scores > config.min_keypoint_score
    counted = counted | ~counted.any(dim=1, keepdim=True)
    mean_counted = (keypoint_scores * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1)
    share = 2 * config.pose_share
    scores = box_scores.clamp(0, 1) ** (2 - share) * mean_counted**share
    return calibrate(scores, config.calibration) if config.pose_score == "calibrated" else scores


def calibrate(scores: Tensor, calibration: tuple[float, float]) -> Tensor:
    """Return the (...) logistic curve of the log odds of scores in [0, 1], by its slope and intercept.

    Source: Platt, "Probabilistic Outputs for Support Vector Machines", 1999.
    """
    slope, intercept = calibration
    return torch.sigmoid(slope * torch.logit(scores, eps=_LEAST_CHANCE) + intercept)
