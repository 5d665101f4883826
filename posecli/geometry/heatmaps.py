"""Heatmaps and back: training encodes and inference decodes with the same object."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from posecli.errors import ConfigError
from posecli.geometry.constants import constant, indexes
from posecli.geometry.subpixel import METHODS

# `cv2.getGaussianKernel(n, 0)` has fixed weights for small kernels, a little off the Gaussian.
_OPENCV_WEIGHTS = {
    1: (1.0,),
    3: (0.25, 0.5, 0.25),
    5: (0.0625, 0.25, 0.375, 0.25, 0.0625),
    7: (0.03125, 0.109375, 0.21875, 0.28125, 0.21875, 0.109375, 0.03125),
    9: tuple(part / 256 for part in (4, 13, 30, 51, 60, 51, 30, 13, 4)),
}

SPACINGS = ("stride", "corners", "stretched")
_PEAK_BEFORE_BLUR = ("dark", "dark_udp")  # methods whose code takes the highest cell before its filter


@dataclass(frozen=True, kw_only=True)
class HeatmapCodec:
    """The convention between crop pixels and heatmap cells of one checkpoint.

    Cell (i, j) covers `stride` x `stride` crop pixels; its centre is at crop pixel (j * stride + (stride - 1) / 2).
    HRNet puts it at j * stride instead and MSPN at j * stride + stride / 2; codecs of such checkpoints set `offset`.
    Where `spacing` is "corners", the first and the last cell lie on the crop's first and last pixel: so train UDP
    (Huang et al., "The Devil is in the Details", CVPR 2020) and with it ViTPose. "stretched" puts the last cell a pixel
    further, at the crop's width and height, as rtmlib's ViTPose class decodes whatever a network was trained with.
    """

    stride: int = 4  # crop pixels per heatmap cell
    heatmap_sigma: float = 2.0  # of the target Gaussian, in heatmap cells
    spacing: str = "stride"  # of the cells in the crop: one of `SPACINGS`
    offset: float | None = None  # crop pixel where the first cell is; None: the middle of its pixels, 0 where stretched
    peak: float = 1.0  # the network's answer where it is sure; some public code trains towards 255
    activation: str = "none"  # of the network's raw answer, before anything else: "none" or "softmax" over the cells
    subpixel: str = "log_parabola"  # where between the cells the top is: a name of `subpixel.METHODS`
    blur: int = 0  # kernel of the Gaussian filter before decoding, cells, odd; 0 = none
    blur_sigma: float | None = None  # of that filter, cells; None: as OpenCV derives it from the kernel
    flip_shift: float = 0.0  # cells, 0 to 1, by which the mirrored crop's map is moved right before averaging

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        for name in ("stride", "heatmap_sigma", "peak"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be above 0, got {getattr(self, name)}")
        if self.subpixel not in METHODS:
            raise ConfigError(f"unknown subpixel method {self.subpixel!r}; choose from {', '.join(METHODS)}")
        if self.spacing not in SPACINGS:
            raise ConfigError(f"unknown spacing {self.spacing!r}; choose from {', '.join(SPACINGS)}")
        if self.activation not in {"none", "softmax"}:
            raise ConfigError(f"activation must be none or softmax, got {self.activation!r}")
        if self.blur < 0 or (self.blur and self.blur % 2 == 0):
            raise ConfigError(f"blur must be 0 or an odd number of cells, got {self.blur}")
        if self.blur_sigma is not None and not self.blur_sigma > 0:
            raise ConfigError(f"blur_sigma must be above 0 cells, got {self.blur_sigma}")
        if not 0 <= self.flip_shift <= 1:
            raise ConfigError(f"flip_shift must be in [0, 1] cells, got {self.flip_shift}")

    def to_cells(self, points: Tensor, *, heatmap_hw: tuple[int, int]) -> Tensor:
        """Map (..., 2) crop pixels to cells of heatmaps of this height and width."""
        return (points - self._first) / constant(self._steps(heatmap_hw), like=points)

    def to_pixels(self, cells: Tensor, *, heatmap_hw: tuple[int, int]) -> Tensor:
        """Map (..., 2) cells of heatmaps of this height and width to crop pixels."""
        return cells * constant(self._steps(heatmap_hw), like=cells) + self._first

    def cell_matrix(self, heatmap_hw: tuple[int, int], *, like: Tensor) -> Tensor:
        """Return the (2, 3) matrix that takes cells of heatmaps of this height and width to crop pixels."""
        offset, (x, y) = self._first, self._steps(heatmap_hw)
        return constant(((x, 0.0, offset), (0.0, y, offset)), like=like)

    @property
    def _first(self) -> float:
        if self.offset is not None:
            return self.offset
        return (self.stride - 1) / 2 if self.spacing == "stride" else 0.0

    def _steps(self, heatmap_hw: tuple[int, int]) -> tuple[float, float]:
        """Return the crop pixels from a cell to the next one, in x and in y."""
        if self.spacing == "stride":
            return float(self.stride), float(self.stride)
        beyond = 1 if self.spacing == "corners" else 0
        height, width = heatmap_hw
        return (self.stride * width - beyond) / max(1, width - 1), (self.stride * height - beyond) / max(1, height - 1)

    def encode(self, points: Tensor, *, heatmap_hw: tuple[int, int]) -> Tensor:
        """Draw a Gaussian of peak 1 at every point.

        Args:
            points: (..., K, 2) float, x y in crop pixels; a point outside leaves only its Gaussian's tail.
            heatmap_hw: height and width of the heatmaps, in cells.

        Returns:
            (..., K, h, w) float in [0, 1].
        """
        cells = self.to_cells(points, heatmap_hw=heatmap_hw)
        x = torch.arange(heatmap_hw[1], device=points.device, dtype=points.dtype)
        y = torch.arange(heatmap_hw[0], device=points.device, dtype=points.dtype)
        falloff = -0.5 / self.heatmap_sigma**2
        across = torch.exp(falloff * (x - cells[..., 0, None]).square())  # (..., K, w)
        down = torch.exp(falloff * (y - cells[..., 1, None]).square())  # (..., K, h)
        return down[..., :, None] * across[..., None, :]

    def activate(self, answer: Tensor) -> Tensor:
        """Turn a network's raw (..., K, h, w) answer into heatmaps that can be averaged and decoded.

        A softmax is scaled so that one as narrow as the target Gaussian peaks at 1.
        """
        answer = torch.nan_to_num(answer.float(), nan=0.0, posinf=0.0, neginf=0.0)
        if self.activation == "none":
            return answer / self.peak if self.peak != 1 else answer
        return answer.flatten(-2).softmax(dim=-1).view(answer.shape) * (2 * math.pi * self.heatmap_sigma**2)

    def decode(self, heatmaps: Tensor) -> tuple[Tensor, Tensor]:
        """Read activated heatmaps as points and scores.

        A flat or NaN heatmap gives a point in its first cell with score 0; `subpixel` says what happens on borders.

        Args:
            heatmaps: (..., K, h, w) float.

        Returns:
            (..., K, 2) points in crop pixels and (..., K) scores, the unfiltered peak clamped to [0, 1].
        """
        heatmaps = torch.nan_to_num(heatmaps.float(), nan=0.0, posinf=0.0, neginf=0.0)
        smooth = gaussian_blur(heatmaps, self.blur, self.blur_sigma) if self.blur else heatmaps
        # DARK's code takes the highest cell before its filter, all others take it after theirs. It then scales the
        # filtered map to its old peak, which moves no top of its logarithm.
        peak = _highest(heatmaps if self.subpixel in _PEAK_BEFORE_BLUR else smooth)
        scores = heatmaps.flatten(-2).gather(-1, peak[..., None]).squeeze(-1).clamp(0, 1)
        height, width = heatmaps.shape[-2:]
        cells = torch.stack((peak % width, peak // width), dim=-1).to(heatmaps.dtype)
        return self.to_pixels(cells + METHODS[self.subpixel](smooth, peak), heatmap_hw=(height, width)), scores


def _highest(maps: Tensor) -> Tensor:
    """Return the (...) int64 index of the highest cell of (..., h, w) maps, the first one of equals."""
    flat = maps.contiguous().flatten(-2)
    if flat.device.type != "cpu":
        return flat.argmax(dim=-1)
    return torch.from_numpy(flat.detach().numpy().argmax(axis=-1))  # takes a tenth of torch's time


def gaussian_blur(heatmaps: Tensor, kernel: int, sigma: float | None = None) -> Tensor:
    """Filter (..., K, h, w) heatmaps with a Gaussian of `kernel` x `kernel` cells; outside the map is 0.

    Source: CPN and MSPN filter before decoding with `cv2.GaussianBlur(map, (kernel, kernel), 0)`.
    """
    weights = _blur_weights(kernel, sigma, like=heatmaps)
    if heatmaps.device.type == "cpu":
        return _convolved(heatmaps, weights)
    height, width = heatmaps.shape[-2:]
    return _band(weights, height) @ (heatmaps @ _band(weights, width))  # of full precision, unlike a GPU's convolutions


def _convolved(heatmaps: Tensor, weights: Tensor) -> Tensor:
    """Filter columns and rows of (..., K, h, w) heatmaps with (n,) weights: on a CPU in half of the bands' time."""
    maps = heatmaps.reshape(-1, *heatmaps.shape[-3:]).contiguous(memory_format=torch.channels_last)  # (N, K, h, w)
    kernel, reach, keypoints = weights.expand(maps.shape[1], 1, -1), len(weights) // 2, maps.shape[1]
    columns = conv2d(maps, kernel[..., None], padding=(reach, 0), groups=keypoints)
    return conv2d(columns, kernel[:, :, None], padding=(0, reach), groups=keypoints).view(heatmaps.shape)


def _band(weights: Tensor, size: int) -> Tensor:
    """Return the (size, size) symmetric matrix that filters a row of cells with (n,) weights."""
    cell = torch.arange(size, device=weights.device)
    tap = cell[:, None] - cell + len(weights) // 2
    return torch.where((tap >= 0) & (tap < len(weights)), weights[tap.clamp(0, len(weights) - 1)], 0.0)


def _blur_weights(kernel: int, sigma: float | None, *, like: Tensor) -> Tensor:
    """Return the (kernel,) weights of a Gaussian filter, sum 1; `sigma` in cells, None for OpenCV's own choice."""
    if sigma is None and kernel in _OPENCV_WEIGHTS:
        return constant(_OPENCV_WEIGHTS[kernel], like=like)
    sigma = sigma or 0.3 * ((kernel - 1) * 0.5 - 1) + 0.8
    position = torch.arange(kernel, device=like.device, dtype=like.dtype) - (kernel - 1) / 2
    weights = torch.exp(-0.5 * (position / sigma).square())
    return weights / weights.sum()


def flip_merge(heatmaps: Tensor, mirrored: Tensor, mirror: tuple[int, ...], *, shift: float = 0.0) -> Tensor:
    """Average (N, K, h, w) heatmaps with those of the mirrored crops.

    Mirroring a crop of w pixels takes pixel p to w - 1 - p, so the map that is turned back lies 1 - (2 offset + 1) /
    stride cells too far left. With a codec's `offset` of 0, as HRNet's, that is .75 at stride 4, which is why CCM's
    Tables 5 and 6 are best at .8. Where a cell stands for the middle of its pixels, the map lies right.

    Args:
        heatmaps: of the crops.
        mirrored: of the mirrored crops.
        mirror: each keypoint's partner.
        shift: cells, 0 to 1, by which the map that is turned back moves right; its first column fills in.

    Source: CCM Eq. (22); HRNet's `SHIFT_HEATMAP` is a shift of 1.
    """
    back = mirrored.flip(-1).index_select(1, indexes(mirror, like=mirrored))
    if shift:
        moved = torch.cat((back[..., :1], back[..., :-1]), dim=-1)
        back = torch.lerp(back, moved, shift)
    return (heatmaps + back) / 2
