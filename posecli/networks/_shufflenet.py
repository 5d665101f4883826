"""ShuffleNet-v2 trunk: features at strides 4, 8, 16 and 32.

Source: Ma et al., "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design", ECCV 2018, Table 5 and
Fig. 3c, d. The last features are those of the 1x1 convolution that ends the paper's network; the classifier is left
out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from posecli.networks._layers import ConvBn, require_multiple

_UNITS = (4, 8, 4)  # per stage, the first of each halves the features
_STEM = 24


def _filtering(inputs: int, outputs: int, *, stride: int) -> nn.Sequential:
    """Mix the channels, filter each of them, mix again."""
    return nn.Sequential(
        ConvBn(inputs, outputs, 1),
        ConvBn(outputs, outputs, stride=stride, groups=outputs, activation=None),
        ConvBn(outputs, outputs, 1),
    )


def _shuffle(left: Tensor, right: Tensor) -> Tensor:
    """Take a channel of either (N, C, H, W) in turn: (N, 2 C, H, W). ONNX has no word for `channel_shuffle`."""
    return torch.stack((left, right), dim=2).flatten(1, 2)


class Unit(nn.Module):
    """Filter half of the channels, keep the others, shuffle both."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.right = _filtering(channels // 2, channels // 2, stride=1)

    def forward(self, x: Tensor) -> Tensor:  # (N, channels, H, W) -> same
        """Let the next unit's halves hold channels of both of these."""
        left, right = x.chunk(2, dim=1)
        return _shuffle(left, self.right(right))


class DownUnit(nn.Module):
    """Halve the features along two branches, shuffle them."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.left = nn.Sequential(
            ConvBn(inputs, inputs, stride=2, groups=inputs, activation=None), ConvBn(inputs, half, 1)
        )
        self.right = _filtering(inputs, half, stride=2)

    def forward(self, x: Tensor) -> Tensor:  # (N, inputs, H, W) -> (N, outputs, H/2, W/2)
        """Run both branches on all channels."""
        return _shuffle(self.left(x), self.right(x))


class ShuffleNetV2(nn.Module):
    """Features at four strides.

    Attributes:
        channels: of the features at strides 4, 8, 16 and 32.
    """

    def __init__(self, *, widths: tuple[int, int, int] = (176, 352, 704), last: int = 1024) -> None:
        super().__init__()
        self.channels = (_STEM, *widths[:2], last)
        self.stem = ConvBn(3, _STEM, stride=2)
        self.stages = nn.ModuleList()
        for inputs, outputs, units in zip((_STEM, *widths), widths, _UNITS, strict=False):
            self.stages.append(nn.Sequential(DownUnit(inputs, outputs), *(Unit(outputs) for _ in range(units - 1))))
        self.last = ConvBn(widths[-1], last, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(N, 3, H, W) -> (N, C, H/s, W/s) for strides 4, 8, 16, 32."""
        require_multiple(images, 32, network="ShuffleNet-v2")
        c4 = max_pool2d(self.stem(images), 3, stride=2, padding=1)
        c8 = self.stages[0](c4)
        c16 = self.stages[1](c8)
        return c4, c8, c16, self.last(self.stages[2](c16))
