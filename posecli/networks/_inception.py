"""Inception-ResNet-v2 trunk: features at strides 4, 8, 16 and 32.

Source: Szegedy et al., "Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning", AAAI 2017,
Figs. 16 to 19, with the widths of TensorFlow slim, whose weights are the public ones. Every convolution and pooling
pads here, so that sizes halve exactly; slim's classifier does not pad in its stem and where it halves. The classifier
is left out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from posecli.networks._layers import ConvBn, require_multiple

_REPEATS = (10, 20, 9)  # residual blocks at strides 8, 16 and 32, there one more without rectifier
_SCALES = (0.17, 0.1, 0.2)  # of what they add


class Branches(nn.Module):
    """Several ways through, side by side."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> (N, sum of the branches' channels, h, w)
        """Run all branches on the same features."""
        return torch.cat([branch(x) for branch in self.branches], dim=1)


class ScaledResidual(nn.Module):
    """Add a scaled share of what the branches find. A scale of 1 without rectifier ends the network."""

    def __init__(self, channels: int, found: int, branches: Branches, *, scale: float, last: bool = False) -> None:
        super().__init__()
        self.branches, self.scale, self.last = branches, 1.0 if last else scale, last
        self.expand = nn.Conv2d(found, channels, 1)

    def forward(self, x: Tensor) -> Tensor:  # (N, channels, H, W) -> same
        """Widen the branches' answer and add it."""
        x = x + self.scale * self.expand(self.branches(x))
        return x if self.last else relu(x, inplace=True)


def _chain(inputs: int, *steps: tuple[int, int | tuple[int, int]], stride: int = 1) -> nn.Sequential:
    """Convolve in steps of (channels, kernel); the last halves the features if `stride` is 2."""
    layers = []
    for number, (channels, kernel) in enumerate(steps, start=1):
        layers.append(ConvBn(inputs, channels, kernel, stride=stride if number == len(steps) else 1))
        inputs = channels
    return nn.Sequential(*layers)


def _halve() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, stride=2, padding=1)


def _block35() -> ScaledResidual:
    branches = Branches(_chain(320, (32, 1)), _chain(320, (32, 1), (32, 3)), _chain(320, (32, 1), (48, 3), (64, 3)))
    return ScaledResidual(320, 128, branches, scale=_SCALES[0])


def _block17() -> ScaledResidual:
    branches = Branches(_chain(1088, (192, 1)), _chain(1088, (128, 1), (160, (1, 7)), (192, (7, 1))))
    return ScaledResidual(1088, 384, branches, scale=_SCALES[1])


def _block8(*, last: bool = False) -> ScaledResidual:
    branches = Branches(_chain(2080, (192, 1)), _chain(2080, (192, 1), (224, (1, 3)), (256, (3, 1))))
    return ScaledResidual(2080, 448, branches, scale=_SCALES[2], last=last)


class InceptionResNetV2(nn.Module):
    """Features at four strides.

    Attributes:
        channels: of the features at strides 4, 8, 16 and 32.
    """

    channels = (192, 320, 1088, 1536)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(ConvBn(3, 32, stride=2), ConvBn(32, 32), ConvBn(32, 64))
        self.stage4 = nn.Sequential(_halve(), ConvBn(64, 80, 1), ConvBn(80, 192))
        pooled = nn.Sequential(nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False), ConvBn(192, 64, 1))
        mixed = Branches(
            _chain(192, (96, 1)), _chain(192, (48, 1), (64, 5)), _chain(192, (64, 1), (96, 3), (96, 3)), pooled
        )
        self.stage8 = nn.Sequential(_halve(), mixed, *(_block35() for _ in range(_REPEATS[0])))
        down = Branches(_chain(320, (384, 3), stride=2), _chain(320, (256, 1), (256, 3), (384, 3), stride=2), _halve())
        self.stage16 = nn.Sequential(down, *(_block17() for _ in range(_REPEATS[1])))
        down = Branches(
            _chain(1088, (256, 1), (384, 3), stride=2),
            _chain(1088, (256, 1), (288, 3), stride=2),
            _chain(1088, (256, 1), (288, 3), (320, 3), stride=2),
            _halve(),
        )
        blocks = (*(_block8() for _ in range(_REPEATS[2])), _block8(last=True))
        self.stage32 = nn.Sequential(down, *blocks, ConvBn(2080, 1536, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(N, 3, H, W) -> (N, C, H/s, W/s) for strides 4, 8, 16, 32."""
        require_multiple(images, 32, network="Inception-ResNet-v2")
        c4 = self.stage4(self.stem(images))
        c8 = self.stage8(c4)
        c16 = self.stage16(c8)
        return c4, c8, c16, self.stage32(c16)
