"""The parts of a two-stage detector: what looks everywhere for boxes, and what judges them one by one.

Source: Ren et al., "Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks", NIPS 2015; Lin et
al., "Feature Pyramid Networks for Object Detection", CVPR 2017, for several scales.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

from posecli.geometry.boxes import area
from posecli.geometry.roi import roi_align

_POOLED = 7  # cells along a side of what is pooled under a box
_CANONICAL = 224.0  # a box of this side, in pixels, is pooled from the features of stride 16


class FeaturePyramid(nn.Module):
    """Features of several scales, of equal width, each knowing what the coarser ones know.

    Source: Feature Pyramid Networks, section 3; convolutions with bias and no norms, as in detectron and torchvision.
    """

    def __init__(self, channels: Sequence[int], width: int = 256) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(inputs, width, 1) for inputs in channels)
        self.output = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in channels)
        for module in (*self.lateral, *self.output):
            nn.init.kaiming_uniform_(module.weight, a=1)
            nn.init.zeros_(module.bias)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """(N, C_i, H / s_i, W / s_i), finest first -> the same with `width` channels, and every second of the last."""
        x: Tensor | None = None
        levels: list[Tensor] = []
        for index in reversed(range(len(features))):
            side = self.lateral[index](features[index])
            x = side if x is None else side + interpolate(x, size=side.shape[-2:])
            levels.insert(0, self.output[index](x))
        return [*levels, levels[-1][..., ::2, ::2]]


class RegionHead(nn.Module):
    """Score and shift of every anchor, the same weights at every scale."""

    def __init__(self, width: int, anchors: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.score = nn.Conv2d(width, anchors, 1)
        self.shift = nn.Conv2d(width, 4 * anchors, 1)
        for layer in (self.conv, self.score, self.shift):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, h, w) -> (N, h w A) logits and (N, h w A, 4) shifts, all anchors of a cell together."""
        x = relu(self.conv(x))
        logits = self.score(x).permute(0, 2, 3, 1).flatten(1)
        shifts = self.shift(x).permute(0, 2, 3, 1).reshape(len(x), -1, 4)
        return logits.float(), shifts.float()


class BoxHead(nn.Module):
    """What is under a box, and how the box should be: two large linear layers on pooled features."""

    def __init__(self, width: int, *, classes: int, boxes: int, hidden: int = 1024) -> None:
        super().__init__()
        self.fc6 = nn.Linear(width * _POOLED**2, hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.score = nn.Linear(hidden, classes)
        self.shift = nn.Linear(hidden, 4 * boxes)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, 7, 7) -> (N, classes) logits and (N, boxes, 4) shifts."""
        x = relu(self.fc7(relu(self.fc6(pooled.flatten(1)))))
        return self.score(x).float(), self.shift(x).float().view(len(x), -1, 4)


def pool(levels: Sequence[Tensor], boxes: Tensor, pictures: Tensor, *, first_stride: int) -> Tensor:
    """Pool each box from the level that suits its size: (N, C, 7, 7).

    Args:
        levels: (B, C, H / s, W / s), s doubling from `first_stride`.
        boxes: (N, 4) xyxy, input pixels.
        pictures: (N,) int64, which of the B each lies on.
        first_stride: of the finest level.

    Source: Feature Pyramid Networks, equation 1; the 1e-6 as torchvision's `LevelMapper`.
    """
    finer = 4 - (first_stride.bit_length() - 1)  # levels between the finest and stride 16
    level = (finer + (area(boxes).sqrt() / _CANONICAL).log2() + 1e-6).floor().clamp(0, len(levels) - 1).long()
    return roi_align(levels, boxes, pictures=pictures, level=level, first_stride=first_stride, size=_POOLED)
