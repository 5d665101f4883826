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

_MAX_LOG_GROWTH = math.log(1000 / 16)  # of a box by regression: an untrained network's would overflow


def roi_align(
    features: Tensor, boxes: Tensor, pictures: Tensor, *, size: int, scale: float, samples: int = 2
) -> Tensor:
    """Pool the features under each box to a grid of `size` x `size` cells.

    A cell is the mean of `samples` x `samples` bilinear samples. Beyond the features by more than one, a sample is 0;
    nearer, it is the border's. Every cell is a weighted sum of few features, and is computed as one.

    Args:
        features: (B, C, H, W) float.
        boxes: (N, 4) xyxy, input pixels.
        pictures: (N,) int64, which of the B each box lies on.
        size: cells of the grid along one side.
        scale: features per input pixel, 1 / stride.
        samples: along one side of a cell.

    Returns:
        (N, C, size, size), of the features' type.

    Source: He et al., "Mask R-CNN", ICCV 2017, section 3; borders as torchvision's `roi_align(aligned=False)`.
    """
    channels, height, width = features.shape[1:]
    corners = boxes.to(features.dtype) * scale
    x, weight_x = _axis(corners[:, 0], corners[:, 2], length=width, size=size, samples=samples)  # (N, size, 2 samples)
    y, weight_y = _axis(corners[:, 1], corners[:, 3], length=height, size=size, samples=samples)
    row = pictures[:, None, None] * height + y  # (N, size, 2 samples)
    cell = row[:, :, None, :, None] * width + x[:, None, :, None, :]  # (N, size, size, 2 samples, 2 samples)
    weight = weight_y[:, :, None, :, None] * weight_x[:, None, :, None, :]
    table = features.permute(0, 2, 3, 1).reshape(-1, channels)
    count = (2 * samples) ** 2
    pooled = embedding_bag(cell.reshape(-1, count), table, per_sample_weights=weight.reshape(-1, count), mode="sum")
    return pooled.view(len(boxes), size, size, channels).permute(0, 3, 1, 2)


def _axis(low: Tensor, high: Tensor, *, length: int, size: int, samples: int) -> tuple[Tensor, Tensor]:
    """Return which features along one axis, (N, size, 2 samples) int64, count how much for each cell, same shape."""
    step = (high - low).clamp(min=1) / (size * samples)
    place = torch.arange(size * samples, device=low.device, dtype=low.dtype) + 0.5
    position = low[:, None] + step[:, None] * place  # (N, size samples)
    inside = ((position >= -1) & (position <= length)).to(position.dtype) / samples
    position = position.clamp(0, length - 1)
    first = position.floor().clamp(max=max(length - 2, 0))
    share = position - first
    index = torch.stack((first, (first + 1).clamp(max=length - 1)), dim=-1).long()  # (N, size samples, 2)
    weight = torch.stack(((1 - share) * inside, share * inside), dim=-1)
    return index.view(len(low), size, 2 * samples), weight.view(len(low), size, 2 * samples)


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
    half = torch.tensor(half_wh, dtype=torch.float32, device=device).round()
    y = torch.arange(map_hw[0], dtype=torch.float32, device=device) * stride
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
