"""Object keypoint similarity: how alike two poses are, in [0, 1], and suppression by it."""

from __future__ import annotations

import torch
from torch import Tensor


def pairwise_oks(truth: Tensor, predicted: Tensor, *, visible: Tensor, area: Tensor, sigmas: Tensor) -> Tensor:
    """Object keypoint similarity of every truth with every prediction.

    Args:
        truth: (G, K, 2) float, x y in image pixels.
        predicted: (P, K, 2) float, x y in image pixels.
        visible: (G, K) bool, the keypoints that count (COCO v > 0).
        area: (G,) float, segment area in square pixels, positive.
        sigmas: (K,) float, OKS sigmas; COCO's falloff k is 2 * sigma.

    Returns:
        (G, P) float in [0, 1]; 0 where a truth has no visible keypoint.

    Source: pycocotools `COCOeval.computeOks`.
    """
    similarity = keypoint_similarity(truth, predicted, area=area[:, None], sigmas=sigmas)  # (G, P, K)
    weight = visible[:, None].to(similarity)  # (G, 1, K)
    return (similarity * weight).sum(-1) / weight.sum(-1).clamp(min=1)


def pose_similarity(keypoints: Tensor, *, area: Tensor, sigmas: Tensor) -> Tensor:
    """OKS of every pose with every other when neither is the truth: all keypoints count, both areas once.

    Args:
        keypoints: (N, K, 2) x y, image pixels.
        area: (N,) square pixels, positive.
        sigmas: (K,) OKS sigmas.

    Returns:
        (N, N) float in [0, 1], symmetric, 1 on its diagonal.

    Source: HRNet `oks_iou`, where the better pose's area counts twice; here it is the mean of both poses' OKS.
    """
    everything = torch.ones(keypoints.shape[:2], dtype=torch.bool, device=keypoints.device)
    one_sided = pairwise_oks(keypoints, keypoints, visible=everything, area=area, sigmas=sigmas)
    return (one_sided + one_sided.T) / 2


def oks_nms(similarity: Tensor, scores: Tensor, *, max_oks: float) -> tuple[Tensor, Tensor]:
    """Drop a pose whose OKS with a better kept one is above `max_oks`.

    Args:
        similarity: (N, N), see `pose_similarity`.
        scores: (N,), higher is better; equal scores keep their order.
        max_oks: in [0, 1].

    Returns:
        (M,) int64 indexes of the kept poses, best first, and (N,) int64: for each pose the kept one, counted from 0
        among the kept, that it belongs to. A kept pose belongs to itself, another to the best one that is like it.
    """
    order = torch.argsort(scores, descending=True, stable=True)
    is_same = (similarity[order][:, order] > max_oks).tolist()
    kept: list[int] = []
    owner = [0] * len(order)
    for candidate, alike in enumerate(is_same):
        found = next((number for number, better in enumerate(kept) if alike[better]), None)
        if found is None:
            found = len(kept)
            kept.append(candidate)
        owner[candidate] = found
    owners = torch.empty_like(order)
    owners[order] = torch.tensor(owner, dtype=torch.int64, device=order.device)
    return order[torch.tensor(kept, dtype=torch.int64, device=order.device)], owners


def soft_oks_nms(similarity: Tensor, scores: Tensor, *, sigma: float) -> Tensor:
    """Lower each pose's score by the better ones that are like it: times exp(-OKS^2 / `sigma`) for each of them.

    The best of what is left is taken in each step, and lowers the rest.

    Args:
        similarity: (N, N), see `pose_similarity`.
        scores: (N,) in [0, 1].
        sigma: above 0; the larger, the less is lowered.

    Returns:
        (N,) scores, none above its old one.

    Source: HRNet `soft_oks_nms` (its `thresh` is this sigma), which returns the old scores; Bodla et al., ICCV 2017.
    """
    decay = torch.exp(-similarity.square() / sigma)
    scores, left = scores.clone(), torch.ones_like(scores, dtype=torch.bool)
    for _ in range(len(scores)):
        best = scores.masked_fill(~left, -1).argmax()
        left[best] = False
        scores = torch.where(left, scores * decay[best], scores)
    return scores


def fuse(keypoints: Tensor, similarity: Tensor, kept: Tensor, owners: Tensor) -> Tensor:
    """Average each kept pose with those that belong to it, weighed by their OKS with it.

    Args:
        keypoints: (N, K, 2) x y.
        similarity: (N, N), see `pose_similarity`.
        kept: (M,) and
        owners: (N,), as `oks_nms` gives them.

    Returns:
        (M, K, 2), a kept pose that is alone unchanged.

    Source: CCM Eq. (20), (21).
    """
    belongs = owners == torch.arange(len(kept), device=kept.device)[:, None]  # (M, N)
    weights = (similarity[kept] * belongs)[..., None, None]  # (M, N, 1, 1)
    away = keypoints - keypoints[kept][:, None]  # (M, N, K, 2): Eq. (21), which keeps digits far from the origin
    return keypoints[kept] + (weights * away).sum(dim=1) / weights.sum(dim=1)


def keypoint_similarity(keypoints1: Tensor, keypoints2: Tensor, *, area: Tensor, sigmas: Tensor) -> Tensor:
    """Return how near each keypoint of one pose is to the same one of another, before OKS takes the mean.

    Args:
        keypoints1: (N, K, 2) x y, image pixels.
        keypoints2: (M, K, 2) x y, image pixels.
        area: (N, M) square pixels of the person, positive.
        sigmas: (K,) OKS sigmas.

    Returns:
        (N, M, K) float in [0, 1].
    """
    x1, y1 = keypoints1[:, None].unbind(-1)
    x2, y2 = keypoints2.unbind(-1)
    squared = (x1 - x2).square() + (y1 - y2).square()  # (N, M, K); several times faster than a sum over two
    return torch.exp(-squared / (2 * area[..., None] * (2 * sigmas).square()))
