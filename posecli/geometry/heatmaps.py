"""Heatmaps and back: training encodes and inference decodes with the same object."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad


@dataclass(frozen=True, kw_only=True)
class HeatmapCodec:
    """The convention between crop pixels and heatmap cells of one checkpoint.

    Cell (i, j) covers `stride` x `stride` crop pixels; its centre is at crop pixel (j * stride + (stride - 1) / 2).
    (HRNet puts it at j * stride instead; a codec of its checkpoints sets `centred=False`.)
    """

    stride: int = 4  # crop pixels per heatmap cell
    heatmap_sigma: float = 2.0  # of the target Gaussian, in heatmap cells
    centred: bool = True  # cell centres at half-stride offsets
    subpixel: str = "parabola"  # "none" or "parabola"
    blur: int = 0  # kernel of the Gaussian filter before decoding, odd; 0 = none

    def to_cells(self, points: Tensor) -> Tensor:
        """Map (..., 2) crop pixels to heatmap cells."""
        return (points - self._offset) / self.stride

    def to_pixels(self, cells: Tensor) -> Tensor:
        """Map (..., 2) heatmap cells to crop pixels."""
        return cells * self.stride + self._offset

    @property
    def _offset(self) -> float:
        return (self.stride - 1) / 2 if self.centred else 0.0

    def encode(self, points: Tensor, *, heatmap_hw: tuple[int, int]) -> Tensor:
        """Draw a Gaussian of peak 1 at every point.

        Args:
            points: (..., K, 2) float, x y in crop pixels; a point outside leaves only its Gaussian's tail.
            heatmap_hw: height and width of the heatmaps, in cells.

        Returns:
            (..., K, h, w) float in [0, 1].
        """
        cells = self.to_cells(points)
        x = torch.arange(heatmap_hw[1], device=points.device, dtype=points.dtype)
        y = torch.arange(heatmap_hw[0], device=points.device, dtype=points.dtype)
        falloff = -0.5 / self.heatmap_sigma**2
        across = torch.exp(falloff * (x - cells[..., 0, None]).square())  # (..., K, w)
        down = torch.exp(falloff * (y - cells[..., 1, None]).square())  # (..., K, h)
        return down[..., :, None] * across[..., None, :]

    def decode(self, heatmaps: Tensor) -> tuple[Tensor, Tensor]:
        """Read heatmaps as points and scores.

        A peak on the border is not refined along the axis that lacks a neighbour; a flat or NaN heatmap gives a point
        in its first cell with score 0.

        Args:
            heatmaps: (..., K, h, w) float.

        Returns:
            (..., K, 2) points in crop pixels and (..., K) scores, the unfiltered peak clamped to [0, 1].
        """
        heatmaps = torch.nan_to_num(heatmaps.float(), nan=0.0, posinf=0.0, neginf=0.0)
        smooth = gaussian_blur(heatmaps, self.blur) if self.blur else heatmaps
        height, width = heatmaps.shape[-2:]
        flat = smooth.flatten(-2)
        peak = flat.argmax(dim=-1)
        scores = heatmaps.flatten(-2).gather(-1, peak[..., None]).squeeze(-1).clamp(0, 1)
        x, y = peak % width, peak // width
        cells = torch.stack((x, y), dim=-1).to(heatmaps.dtype)
        if self.subpixel == "parabola":
            horizontal = parabola_offset(flat, peak, step=1, inside=(x > 0) & (x < width - 1))
            vertical = parabola_offset(flat, peak, step=width, inside=(y > 0) & (y < height - 1))
            cells = cells + torch.stack((horizontal, vertical), dim=-1)
        return self.to_pixels(cells), scores


def parabola_offset(flat: Tensor, peak: Tensor, *, step: int, inside: Tensor) -> Tensor:
    """Return where the parabola through the log of a peak and its two neighbours has its top, in (-.5, .5).

    The log makes the parabola exact for a Gaussian. Source: CCM Eq. (10); the log as in DARK (Zhang et al., CVPR 2020).
    """
    last = flat.shape[-1] - 1
    index = torch.stack((peak - step, peak, peak + step), dim=-1).clamp(0, last)
    before, here, after = flat.gather(-1, index).clamp(min=1e-6).log().unbind(-1)
    curvature = 2 * here - before - after
    offset = 0.5 * (after - before) / curvature.clamp(min=1e-6)
    return torch.where(inside & (curvature > 1e-6), offset.clamp(-0.5, 0.5), torch.zeros_like(offset))


def gaussian_blur(heatmaps: Tensor, kernel: int) -> Tensor:
    """Filter (..., K, h, w) heatmaps with a Gaussian of `kernel` x `kernel` cells, sigma as OpenCV derives it.

    Source: CPN and MSPN filter before decoding with `cv2.GaussianBlur(map, (kernel, kernel), 0)`.
    """
    sigma = 0.3 * ((kernel - 1) * 0.5 - 1) + 0.8
    position = torch.arange(kernel, device=heatmaps.device, dtype=heatmaps.dtype) - (kernel - 1) / 2
    weights = torch.exp(-0.5 * (position / sigma).square())
    weights = weights / weights.sum()
    maps = heatmaps.reshape(-1, 1, *heatmaps.shape[-2:])
    half = kernel // 2
    maps = conv2d(pad(maps, (half, half, 0, 0)), weights.view(1, 1, 1, -1))
    maps = conv2d(pad(maps, (0, 0, half, half)), weights.view(1, 1, -1, 1))
    return maps.view(heatmaps.shape)


def flip_merge(heatmaps: Tensor, mirrored: Tensor, mirror: tuple[int, ...]) -> Tensor:
    """Average (N, K, h, w) heatmaps with those of the mirrored crops, `mirror` naming each keypoint's partner."""
    return (heatmaps + mirrored.flip(-1)[:, list(mirror)]) / 2
