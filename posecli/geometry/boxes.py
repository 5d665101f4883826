"""Boxes as (..., 4) xyxy float tensors: left, top, right, bottom edges in pixels.

A box is an area, not a set of pixels: its width is right - left, and pixel (x, y) is centred at (x, y). COCO's
`[x, y, width, height]` is converted at the file border only.
"""

from __future__ import annotations

import torch
from torch import Tensor


def xywh_to_xyxy(boxes_xywh: Tensor) -> Tensor:
    """Turn (..., 4) left, top, width, height into left, top, right, bottom."""
    corner, size_wh = boxes_xywh[..., :2], boxes_xywh[..., 2:]
    return torch.cat((corner, corner + size_wh), dim=-1)


def xyxy_to_xywh(boxes: Tensor) -> Tensor:
    """Turn (..., 4) left, top, right, bottom into left, top, width, height."""
    corner, opposite = boxes[..., :2], boxes[..., 2:]
    return torch.cat((corner, opposite - corner), dim=-1)


def area(boxes: Tensor) -> Tensor:
    """Return the (...) area in square pixels of (..., 4) boxes; inverted boxes have none."""
    size_wh = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    return size_wh[..., 0] * size_wh[..., 1]


def clip(boxes: Tensor, *, width: float, height: float) -> Tensor:
    """Cut (..., 4) boxes at the borders of a width x height image."""
    limit = boxes.new_tensor((width, height, width, height))
    return boxes.clamp(min=0).minimum(limit)


def intersection(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Return the overlap in square pixels of every box of (N, 4) with every box of (M, 4): (N, M)."""
    top_left = torch.maximum(boxes1[:, None, :2], boxes2[None, :, :2])  # (N, M, 2)
    bottom_right = torch.minimum(boxes1[:, None, 2:], boxes2[None, :, 2:])
    size_wh = (bottom_right - top_left).clamp(min=0)
    return size_wh[..., 0] * size_wh[..., 1]


def pairwise_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Return the intersection over union of every box of (N, 4) with every box of (M, 4): (N, M) in [0, 1]."""
    overlap = intersection(boxes1, boxes2)
    union = area(boxes1)[:, None] + area(boxes2)[None] - overlap
    return overlap / union.clamp(min=1e-9)


def generalized_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Return the (N,) generalized IoU in (-1, 1] of (N, 4) boxes with (N, 4) boxes, row by row.

    Source: Rezatofighi et al., "Generalized Intersection over Union", CVPR 2019, algorithm 1.
    """
    size_wh = (torch.minimum(boxes1[:, 2:], boxes2[:, 2:]) - torch.maximum(boxes1[:, :2], boxes2[:, :2])).clamp(min=0)
    overlap = size_wh[:, 0] * size_wh[:, 1]
    union = (area(boxes1) + area(boxes2) - overlap).clamp(min=1e-9)
    hull = torch.cat((torch.minimum(boxes1[:, :2], boxes2[:, :2]), torch.maximum(boxes1[:, 2:], boxes2[:, 2:])), dim=1)
    hull_area = area(hull).clamp(min=1e-9)
    return overlap / union - (hull_area - union) / hull_area


def hard_nms(boxes: Tensor, scores: Tensor, *, max_iou: float) -> Tensor:
    """Keep the best box of every heap: drop a box whose IoU with a better kept one is above `max_iou`.

    Args:
        boxes: (N, 4) xyxy.
        scores: (N,), higher is better; equal scores keep their order.
        max_iou: in [0, 1].

    Returns:
        (M,) int64 indexes of the kept boxes, best first.
    """
    order = torch.argsort(scores, descending=True, stable=True)
    overlaps = (pairwise_iou(boxes[order], boxes[order]) > max_iou).tolist()
    kept: list[int] = []
    for candidate in range(len(order)):
        if not any(overlaps[candidate][better] for better in kept):
            kept.append(candidate)
    return order[torch.tensor(kept, dtype=torch.int64, device=order.device)]


def fit_aspect(boxes: Tensor, *, aspect: float, margin: tuple[float, float]) -> Tensor:
    """Grow (..., 4) boxes about their centres by the factors `margin` in x and y, then to width / height = `aspect`.

    Source: CPN and MSPN, whose factors differ. HRNet's `_xywh2cs` grows to the aspect first, which is the same where
    both factors are 1.25.
    """
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2
    size_wh = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1)
    width = torch.maximum(size_wh[..., 0] * margin[0], size_wh[..., 1] * margin[1] * aspect)
    half = torch.stack((width, width / aspect), dim=-1) / 2
    return torch.cat((centre - half, centre + half), dim=-1)


def around_points(points: Tensor, valid: Tensor) -> Tensor:
    """Return the (..., 4) tight boxes of the valid points of each row; all zero where none is valid.

    Args:
        points: (..., K, 2) x y.
        valid: (..., K) bool.
    """
    infinity = torch.full_like(points, float("inf"))
    low = torch.where(valid[..., None], points, infinity).amin(dim=-2)
    high = torch.where(valid[..., None], points, -infinity).amax(dim=-2)
    boxes = torch.cat((low, high), dim=-1)
    return torch.where(valid.any(dim=-1, keepdim=True), boxes, torch.zeros_like(boxes))
