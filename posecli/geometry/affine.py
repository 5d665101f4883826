"""Crops: the 2x3 matrices between image pixels and crop pixels, and the sampling itself.

Training and inference both go through `crop_matrices` and `warp`, so that a network sees the same pixels in both.
Integer coordinates are pixel centres in every frame: a crop of a whole w x h image at its own size is the image.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from posecli.geometry.constants import constant


def crop_matrices(
    boxes: Tensor, *, crop_hw: tuple[int, int], rotation: Tensor | None = None, half_pixel: bool = True
) -> Tensor:
    """Return the matrices that take crop pixels to image pixels.

    The box's edges become the crop's edges, half a pixel outside its border pixels' centres.

    Args:
        boxes: (N, 4) xyxy of the crop's own aspect, image pixels (see `boxes.fit_aspect`).
        crop_hw: height and width of the crop in pixels.
        rotation: (N,) radians by which the crop window is turned about its centre, y down; none if omitted.
        half_pixel: without it, the box's top left corner becomes the crop's first pixel's centre instead, and its
            bottom right one the centre of the pixel beyond the last, as in HRNet, mmpose and rtmlib.

    Returns:
        (N, 2, 3) float: image_point = matrix @ (crop_x, crop_y, 1).
    """
    height, width = crop_hw
    edge = 0.5 if half_pixel else 0.0  # from a pixel's edge to its centre
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2 - edge
    size_wh = boxes[:, 2:] - boxes[:, :2]
    scale = size_wh / constant((width, height), like=size_wh)  # (N, 2) image pixels per crop pixel
    angle = torch.zeros_like(scale[:, 0]) if rotation is None else rotation
    cos, sin = angle.cos(), angle.sin()
    linear = torch.stack(
        (
            torch.stack((cos * scale[:, 0], -sin * scale[:, 1]), -1),
            torch.stack((sin * scale[:, 0], cos * scale[:, 1]), -1),
        ),
        dim=1,
    )  # (N, 2, 2)
    crop_centre = constant((width / 2 - edge, height / 2 - edge), like=boxes)
    offset = centre - linear @ crop_centre
    return torch.cat((linear, offset[..., None]), dim=-1)


def invert(matrices: Tensor) -> Tensor:
    """Return the (N, 2, 3) inverses of (N, 2, 3) affine matrices."""
    (a, b), (c, d) = (row.unbind(-1) for row in matrices[..., :2].unbind(-2))
    adjugate = torch.stack((torch.stack((d, -b), dim=-1), torch.stack((-c, a), dim=-1)), dim=-2)
    linear = adjugate / (a * d - b * c)[..., None, None]  # torch.linalg.inv looks at its result, which waits for a GPU
    return torch.cat((linear, -linear @ matrices[..., 2:]), dim=-1)


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """Return the (..., 2, 3) matrices that do `inner` first and then `outer`, both (..., 2, 3)."""
    linear = outer[..., :2]
    offset = linear @ inner[..., 2:] + outer[..., 2:]
    return torch.cat(((linear @ inner[..., :2]).expand(*offset.shape[:-1], 2), offset), dim=-1)


def transform_points(points: Tensor, matrices: Tensor) -> Tensor:
    """Map (N, K, 2) points by (N, 2, 3) matrices."""
    return points @ matrices[..., :2].transpose(-1, -2) + matrices[..., 2].unsqueeze(-2)


def warp(images: Tensor, matrices: Tensor, *, crop_hw: tuple[int, int]) -> Tensor:
    """Sample crops bilinearly; outside the image is black.

    Args:
        images: (N, C, H, W) float, one image a crop (expand one image for many crops of it).
        matrices: (N, 2, 3) crop pixels to image pixels.
        crop_hw: height and width of the crops.

    Returns:
        (N, C, h, w) in the images' own range.
    """
    height, width = images.shape[-2:]
    y = torch.arange(crop_hw[0], device=images.device, dtype=matrices.dtype)
    x = torch.arange(crop_hw[1], device=images.device, dtype=matrices.dtype)
    # grid_sample wants [-1, 1] from edge to edge: pixel centre p lies at (2 p + 1) / size - 1
    across, down = matrices[:, 0] * (2 / width), matrices[:, 1] * (2 / height)  # (N, 3)
    column, row, offset = torch.stack((across, down), dim=1)[..., None, None].unbind(2)  # (N, 2, 1, 1)
    shift = torch.stack((offset[:, 0] + (1 / width - 1), offset[:, 1] + (1 / height - 1)), dim=1)
    grid = x * column + (y[:, None] * row + shift)  # (N, 2, h, w): planes are what a CPU makes and reads fastest
    grid = grid.permute(0, 2, 3, 1).to(images.dtype)
    return grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
