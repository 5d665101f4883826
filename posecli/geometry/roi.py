"""Features under boxes: RoIAlign, and what anchors and box regression are made of.

Boxes are xyxy edges in input pixels. Here, as in all public R-CNN code, feature (x, y) stands for the point (x, y), not
for the middle of a cell: RoIAlign samples at edges' coordinates times the scale ("aligned=False").
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from posecli.geometry.constants import constant

_SAMPLES = 2  # along one side of a cell
_MAX_LOG_GROWTH = math.log(1000 / 16)  # of a box by regression: an untrained network's would overflow


def roi_align(
    levels: Sequence[Tensor], boxes: Tensor, *, pictures: Tensor, level: Tensor, first_stride: int, size: int = 7
) -> Tensor:
    """Pool the features under each box to a grid of `size` x `size` cells.

    A cell is the mean of 2 x 2 bilinear samples. Beyond the features by more than one, a sample is 0; nearer, it is the
    border's. So every cell is a weighted sum of 16 features, and is computed as one, for all levels and pictures at
    once: no shape depends on where the boxes lie.

    Args:
        levels: (B, C, H_l, W_l) float features, each of half the size of the one before.
        boxes: (N, 4) xyxy, input pixels.
        pictures: (N,) int64, which of the B each box lies on.
        level: (N,) int64, which level it is read from.
        first_stride: input pixels per feature of the first level.
        size: cells of the grid along one side.

    Returns:
        (N, C, size, size), of the features' type.

    Source: He et al., "Mask R-CNN", ICCV 2017, section 3; borders as torchvision's `roi_align(aligned=False)`.
    """
    count, channels = levels[0].shape[:2]
    shapes = constant(tuple((features.shape[-2], features.shape[-1]) for features in levels), like=level)
    cells = shapes.prod(dim=1) * count  # of each level
    start = (cells.cumsum(0) - cells)[level]  # (N,)
    height, width = shapes[level].unbind(1)
    corners = boxes.to(levels[0].dtype) / (first_stride * 2**level)[:, None]
    x, weight_x = _axis(corners[:, 0], corners[:, 2], length=width, size=size)  # (N, size, 4)
    y, weight_y = _axis(corners[:, 1], corners[:, 3], length=height, size=size)
    row = pictures[:, None, None] * height[:, None, None] + y
    feature = (row * width[:, None, None])[:, :, None, :, None] + x[:, None, :, None, :]  # (N, size, size, 4, 4)
    feature = feature + start.view(-1, 1, 1, 1, 1)
    weight = weight_y[:, :, None, :, None] * weight_x[:, None, :, None, :]
    table = torch.cat([features.permute(0, 2, 3, 1).reshape(-1, channels) for features in levels])
    pooled = embedding_bag(feature.reshape(-1, 16), table, per_sample_weights=weight.reshape(-1, 16), mode="sum")
    return pooled.view(len(boxes), size, size, channels).permute(0, 3, 1, 2)


def _axis(low: Tensor, high: Tensor, *, length: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return which features along one axis, (N, size, 4) int64, count how much for each cell, same shape."""
    step = (high - low).clamp(min=1) / (size * _SAMPLES)
    place = torch.arange(size * _SAMPLES, device=low.device, dtype=low.dtype) + 0.5
    position = low[:, None] + step[:, None] * place  # (N, size samples)
    length = length[:, None].to(position.dtype)
    inside = ((position >= -1) & (position <= length)).to(position.dtype) / _SAMPLES
    position = position.clamp(min=0).minimum(length - 1)
    first = position.floor().minimum((length - 2).clamp(min=0))
    share = position - first
    index = torch.stack((first, (first + 1).minimum(length - 1)), dim=-1).long()  # (N, size samples, 2)
    weight = torch.stack(((1 - share) * inside, share * inside), dim=-1)
    return index.view(len(low), size, 2 * _SAMPLES), weight.view(len(low), size, 2 * _SAMPLES)


def anchors(
    map_hw: tuple[int, int],
    *,
    stride: int,
    sizes: Sequence[float],
    ratios: Sequence[float],
    device: torch.device | None = None,
) -> Tensor:
    """Return the boxes that a detector starts from: around the first point of every cell, one of each ratio and size.

    Args:
        map_hw: height and width of the features.
        stride: input pixels per feature.
        sizes: square roots of the boxes' areas, in pixels.
        ratios: height / width.
        device: of the result.

    Returns:
        (h w len(ratios) len(sizes), 4) xyxy, row by row, all of a cell together; whole pixels from the cell's point.

    Source: Ren et al., "Faster R-CNN", NIPS 2015, section 3.1; rounded as torchvision's `AnchorGenerator`.
    """
    half_wh = [(size / math.sqrt(ratio) / 2, size * math.sqrt(ratio) / 2) for ratio in ratios for size in sizes]
    y = torch.arange(map_hw[0], dtype=torch.float32, device=device) * stride
    half = constant(tuple(half_wh), like=y).round()
    x = torch.arange(map_hw[1], dtype=torch.float32, device=device) * stride
    points = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).view(-1, 1, 2)
    return torch.cat((points - half, points + half), dim=-1).view(-1, 4)


def shift_boxes(boxes: Tensor, shifts: Tensor, *, weights: tuple[float, float] = (1.0, 1.0)) -> Tensor:
    """Move and resize boxes by what a network predicts for them.

    Args:
        boxes: (..., 4) xyxy.
        shifts: (..., 4) centre's shift in x and y, in widths and heights, and logs of the growth of width and height.
        weights: what the shift and the logs were multiplied with for training.

    Returns:
        (..., 4) xyxy; a side grows 62.5 times at most.

    Source: Ren et al., "Faster R-CNN", NIPS 2015, equation 2; limit and order of sums as torchvision's `BoxCoder`.
    """
    size_wh = boxes[..., 2:] - boxes[..., :2]
    centre = boxes[..., :2] + 0.5 * size_wh
    centre = shifts[..., :2] / weights[0] * size_wh + centre
    half = 0.5 * (shifts[..., 2:] / weights[1]).clamp(max=_MAX_LOG_GROWTH).exp() * size_wh
    return torch.cat((centre - half, centre + half), dim=-1)


def shifts_between(boxes: Tensor, targets: Tensor, *, weights: tuple[float, float] = (1.0, 1.0)) -> Tensor:
    """Return the (..., 4) shifts that bring (..., 4) boxes to the targets: what `shift_boxes` undoes."""
    size_wh = (boxes[..., 2:] - boxes[..., :2]).clamp(min=1e-6)
    target_wh = (targets[..., 2:] - targets[..., :2]).clamp(min=1e-6)
    move = (targets[..., :2] + targets[..., 2:] - boxes[..., :2] - boxes[..., 2:]) / 2 / size_wh
    return torch.cat((weights[0] * move, weights[1] * (target_wh / size_wh).log()), dim=-1)
