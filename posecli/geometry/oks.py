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


def oks_nms(keypoints: Tensor, scores: Tensor, *, area: Tensor, sigmas: Tensor, max_oks: float) -> Tensor:
    """Drop a pose whose OKS with a better kept one is above `max_oks`.

    Args:
        keypoints: (N, K, 2) x y, image pixels.
        scores: (N,), higher is better.
        area: (N,) square pixels.
        sigmas: (K,) OKS sigmas.
        max_oks: in [0, 1].

    Returns:
        (M,) int64 indexes of the kept poses, best first.

    Source: HRNet `oks_nms`, where the better pose's area counts twice; here it is the mean of both poses' areas.
    """
    order = torch.argsort(scores, descending=True, stable=True)
    points, sizes = keypoints[order], area[order]
    everything = torch.ones(points.shape[:2], dtype=torch.bool, device=points.device)
    same = pairwise_oks(points, points, visible=everything, area=sizes, sigmas=sigmas)
    is_same = ((same + same.T) / 2 > max_oks).tolist()
    kept: list[int] = []
    for candidate in range(len(order)):
        if not any(is_same[candidate][better] for better in kept):
            kept.append(candidate)
    return order[torch.tensor(kept, dtype=torch.int64, device=order.device)]


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
