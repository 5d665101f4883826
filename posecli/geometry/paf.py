"""Part affinity fields: a unit vector along every limb, and the grouping of keypoints into people by them.

Points are in map cells: cell (x, y) is centred at (x, y). Limb l of `edges` owns channels 2 l (x) and 2 l + 1 (y).

Source: Cao et al., "OpenPose: Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields", TPAMI 2021,
sections 3.3 (fields) and 3.4 (grouping).
"""

from __future__ import annotations

import torch
from torch import Tensor

Edges = tuple[tuple[int, int], ...]


def encode(keypoints: Tensor, valid: Tensor, *, edges: Edges, map_hw: tuple[int, int], width: float = 1.0) -> Tensor:
    """Draw the part affinity fields of every picture's people.

    Where limbs of several people overlap, their vectors are averaged. A limb without length has no direction and is
    not drawn. The end caps are round, so that even the shortest limb marks a cell.

    Args:
        keypoints: (B, N, K, 2) float, x y in map cells; whatever stands at invalid keypoints is not looked at.
        valid: (B, N, K) bool, the keypoints that exist.
        edges: L pairs of keypoint indexes, first and second end.
        map_hw: height and width of the maps in cells.
        width: cells within this distance of the limb belong to it.

    Returns:
        (B, 2 L, h, w) float, vectors of length 0 to 1.

    Source: Cao et al., equations 8 and 9.
    """
    fields = keypoints.new_zeros(len(keypoints), len(edges), 2, *map_hw)
    x = torch.arange(map_hw[1], device=keypoints.device, dtype=keypoints.dtype)
    y = torch.arange(map_hw[0], device=keypoints.device, dtype=keypoints.dtype)
    for limb, (first, second) in enumerate(edges):
        picture, person = (valid[:, :, first] & valid[:, :, second]).nonzero(as_tuple=True)
        start, end = keypoints[picture, person, first], keypoints[picture, person, second]  # (M, 2)
        length = (end - start).norm(dim=-1)[:, None, None]  # (M, 1, 1)
        unit = (end - start)[:, :, None, None] / length[:, None].clamp(min=1e-6)  # (M, 2, 1, 1)
        from_x, from_y = x - start[:, 0, None, None], y[:, None] - start[:, 1, None, None]  # (M, 1, w), (M, h, 1)
        along = from_x * unit[:, 0] + from_y * unit[:, 1]  # (M, h, w)
        aside = from_x * unit[:, 1] - from_y * unit[:, 0]
        beyond = (along - along.clamp(min=0).minimum(length)).square() + aside.square()
        inside = ((beyond <= width**2) & (length > 1e-6)).to(keypoints.dtype)
        count = torch.zeros_like(fields[:, limb, 0]).index_add_(0, picture, inside)
        total = torch.zeros_like(fields[:, limb]).index_add_(0, picture, unit * inside[:, None])
        fields[:, limb] = total / count.clamp(min=1)[:, None]
    return fields.flatten(1, 2)
