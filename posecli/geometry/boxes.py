"""Boxes as (..., 4) xyxy float tensors: left, top, right, bottom edges in pixels.

A box is an area, not a set of pixels: its width is right - left, and pixel (x, y) is centred at (x, y). COCO's
`[x, y, width, height]` is converted at the file border only.
"""

from __future__ import annotations

import torch
from torch import Tensor

from posecli.geometry.constants import constant


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
    left, top, right, bottom = boxes.unbind(-1)
    return (right - left).clamp(min=0) * (bottom - top).clamp(min=0)


def clip(boxes: Tensor, *, width: float, height: float) -> Tensor:
    """Cut (..., 4) boxes at the borders of a width x height image."""
    limit = constant((width, height, width, height), like=boxes)
    return boxes.clamp(min=0).minimum(limit)


def intersection(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Return the overlap in square pixels of every box of (..., N, 4) with every box of (..., M, 4): (..., N, M)."""
    left1, top1, right1, bottom1 = boxes1.unsqueeze(-2).unbind(-1)  # (..., N, 1)
    left2, top2, right2, bottom2 = boxes2.unsqueeze(-3).unbind(-1)  # (..., 1, M)
    width = (torch.minimum(right1, right2) - torch.maximum(left1, left2)).clamp(min=0)
    return width * (torch.minimum(bottom1, bottom2) - torch.maximum(top1, top2)).clamp(min=0)


def pairwise_iou(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """Return the intersection over union of every box of (..., N, 4) with every box of (..., M, 4), in [0, 1]."""
    overlap = intersection(boxes1, boxes2)
    union = area(boxes1)[..., :, None] + area(boxes2)[..., None, :] - overlap
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
    overlaps = (pairwise_iou(boxes[order], boxes[order]) > max_iou).tril(-1).float()  # (box, better box)
    kept = torch.ones_like(scores, dtype=torch.bool)
    while True:  # a round settles at least one more box for good, and mostly all of them within a few
        still = overlaps @ kept.float() == 0
        if torch.equal(still, kept):
            return order[kept]
        kept = still


def grouped_nms(boxes: Tensor, scores: Tensor, groups: Tensor, *, max_iou: float) -> Tensor:
    """Do `hard_nms` within each group: boxes of different groups do not compete.

    Args:
        boxes: (N, 4) xyxy.
        scores: (N,), higher is better.
        groups: (N,) int64, a number for each box's group, such as its class.
        max_iou: in [0, 1].

    Returns:
        (M,) int64 indexes of the kept boxes, best first over all groups.
    """
    members = [(groups == group).nonzero().squeeze(1) for group in groups.unique()]
    kept = [index[hard_nms(boxes[index], scores[index], max_iou=max_iou)] for index in members]
    together = torch.cat(kept).sort().values if kept else groups.new_zeros(0, dtype=torch.int64)
    return together[scores[together].argsort(descending=True, stable=True)]


def soft_decay(iou: Tensor, *, kind: str, max_iou: float, sigma: float) -> Tensor:
    """Return what a better box does to the score of one that overlaps it by `iou` (...): a factor in [0, 1].

    Args:
        iou: in [0, 1].
        kind: "soft_linear": 1 - IoU above `max_iou`, else 1; "soft_gaussian": exp(-IoU^2 / `sigma`).
        max_iou: for the linear one.
        sigma: for the Gaussian one.

    Source: Bodla et al., "Soft-NMS: Improving Object Detection With One Line of Code", ICCV 2017, section 3.
    """
    if kind == "soft_linear":
        return torch.where(iou > max_iou, 1 - iou, torch.ones_like(iou))
    if kind == "soft_gaussian":
        return (-iou.square() / sigma).exp()
    raise ValueError(f"no soft NMS is called {kind!r}")


def soft_nms(boxes: Tensor, scores: Tensor, *, kind: str, max_iou: float = 0.5, sigma: float = 0.5) -> Tensor:
    """Lower the scores of boxes by their overlap with better ones, the best of what is left in each step going first.

    Args:
        boxes: (..., N, 4) xyxy.
        scores: (..., N) in [0, 1].
        kind: see `soft_decay`, as for `max_iou` and `sigma`.
        max_iou: in [0, 1].
        sigma: above 0.

    Returns:
        (..., N) scores, none above its old one; their order is the one in which the boxes were taken.
    """
    decay = soft_decay(pairwise_iou(boxes, boxes), kind=kind, max_iou=max_iou, sigma=sigma)
    scores, left = scores.clone(), torch.ones_like(scores, dtype=torch.bool)
    for _ in range(scores.shape[-1]):
        best = scores.masked_fill(~left, -1).argmax(dim=-1, keepdim=True)  # (..., 1)
        left = left.scatter(-1, best, False)
        row = decay.gather(-2, best[..., None].expand(*best.shape, decay.shape[-1])).squeeze(-2)  # (..., N)
        scores = torch.where(left, scores * row, scores)
    return scores


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
