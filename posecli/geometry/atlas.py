"""Pictures of a batch as one: all crops of all of them in one sampling, without a loop and without a word to the CPU.

On a GPU, a loop over people is a queue of small kernels, and the size of the part that each of them sees is known
there only. So whole pictures lie one below the other, and every sample is looked up in its own picture's rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from posecli.geometry.constants import constant

_GAP = 2  # rows of nothing below each picture: one to fade into, and one that takes up grid_sample's rounding


@dataclass(frozen=True)
class Atlas:
    """Pictures one below the other, with rows of nothing between them."""

    picture: Tensor  # (1, 3, sum of heights and gaps, largest width) float in [0, 255]
    places: Tensor  # (B, 3) float on the CPU, of each picture: its first row, width and height

    @staticmethod
    def of(images: Sequence[Tensor]) -> Atlas:
        """Lay out (H_i, W_i, 3) uint8 pictures of any sizes; all on one device."""
        places, rows = [], 0
        for image in images:
            places.append((float(rows), float(image.shape[1]), float(image.shape[0])))
            rows += image.shape[0] + _GAP
        width = max(image.shape[1] for image in images)
        picture = torch.zeros(1, 3, rows, width, dtype=torch.float32, device=images[0].device)
        for image, (top, *_) in zip(images, places, strict=True):
            picture[0, :, int(top) : int(top) + image.shape[0], : image.shape[1]] = image.permute(2, 0, 1)
        return Atlas(picture, torch.tensor(places))

    def crops(
        self,
        places: Tensor,
        matrices: Tensor,
        *,
        crop_hw: tuple[int, int],
        border: tuple[float, float, float] = (0.0, 0.0, 0.0),
    ) -> Tensor:
        """Cut crops from the pictures, bilinearly, as `affine.warp` does from one.

        Args:
            places: (N, 3), the row of `self.places` of each crop's picture, where the matrices are.
            matrices: (N, 2, 3) crop pixels to that picture's pixels.
            crop_hw: height and width of the crops.
            border: colour outside the picture, RGB in [0, 1].

        Returns:
            (N, 3, h, w) float in [0, 255].
        """
        count, (crop_h, crop_w) = len(matrices), crop_hw
        top, width, height = places.unbind(-1)  # (N,) each
        x = torch.arange(crop_w, device=matrices.device, dtype=matrices.dtype)
        y = torch.arange(crop_h, device=matrices.device, dtype=matrices.dtype)[:, None]
        across, down = matrices[:, 0, :, None, None], matrices[:, 1, :, None, None]  # (N, 3, 1, 1)
        # one pixel beyond its edges a picture has faded into nothing; further away is no different
        column = (across[:, 0] * x + across[:, 1] * y + across[:, 2]).clamp(min=-1).minimum(_of(width))  # (N, h, w)
        row = (down[:, 0] * x + down[:, 1] * y + down[:, 2]).clamp(min=-1).minimum(_of(height))
        rows, columns = self.picture.shape[-2:]
        grid = torch.stack(((2 * column + 1) / columns - 1, (2 * (row + _of(top)) + 1) / rows - 1), dim=-1)
        sampled = grid_sample(
            self.picture, grid.view(1, count * crop_h, crop_w, 2), mode="bilinear", align_corners=False
        )  # (1, 3, N h, w)
        crops = sampled.view(3, count, crop_h, crop_w).transpose(0, 1)
        if not any(border):
            return crops
        inside = _share(column, _of(width)) * _share(row, _of(height))
        return crops + (1 - inside)[:, None] * 255 * constant(border, like=crops)[:, None, None]


def _of(values: Tensor) -> Tensor:
    """Give (N,) values of crops two more dimensions, for their pixels."""
    return values[:, None, None]


def _share(position: Tensor, size: Tensor) -> Tensor:
    """Return how much of a bilinear sample along one axis lies inside of a picture."""
    return torch.minimum(position + 1, size - position).clamp(0, 1)
