"""ResNet and ResNeXt trunks: features at strides 4, 8, 16 and 32.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, Table 1; Xie et al., "Aggregated Residual
Transformations for Deep Neural Networks", CVPR 2017. The stride of a stage sits in its first 3x3 convolution ("v1.5"),
as in torchvision, SimpleBaseline, mmpose (`style="pytorch"`), MSPN and TensorFlow slim's blocks as CPN uses them; the
papers have it in the 1x1 before.

Weights, beside those of public code (torchvision's names, which SimpleBaseline, HRNet's first stage and mmpose share):

    conv1, bn1                     stem.conv, stem.bn
    layerL.B.convC, layerL.B.bnC   stages.{L-1}.B.{reduce, filter, expand}.conv, .bn   for C = 1, 2, 3
    layerL.0.downsample.0, .1      stages.{L-1}.0.shortcut.conv, .bn
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu

from posecli.networks._layers import ConvBn, require_multiple

RESNET50, RESNET101, RESNET152 = (3, 4, 6, 3), (3, 4, 23, 3), (3, 8, 36, 3)  # blocks per stage
_WIDTHS = (64, 128, 256, 512)  # of the 3x3 convolutions, per stage
_EXPANSION = 4


class Bottleneck(nn.Module):
    """Narrow, filter, widen, around a shortcut that is convolved where the shape changes."""

    def __init__(  # noqa: PLR0913 - each is a figure of the papers' tables
        self,
        inputs: int,
        outputs: int,
        width: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__()
        self.reduce = ConvBn(inputs, width, 1, bias=bias)
        self.filter = self.make_filter(width, stride=stride, dilation=dilation, groups=groups, bias=bias)
        self.expand = ConvBn(width, outputs, 1, bias=bias, activation=None)
        changes = stride > 1 or inputs != outputs
        self.shortcut = ConvBn(inputs, outputs, 1, stride=stride, bias=bias, activation=None) if changes else None

    def make_filter(self, width: int, *, stride: int, dilation: int, groups: int, bias: bool) -> nn.Module:
        """Build the layer in the middle: (N, width, H, W) -> (N, width, H/stride, W/stride)."""
        return ConvBn(width, width, stride=stride, dilation=dilation, groups=groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:  # (N, inputs, H, W) -> (N, outputs, H/stride, W/stride)
        """Add what the three convolutions find."""
        shortcut = x if self.shortcut is None else self.shortcut(x)
        return relu(self.expand(self.filter(self.reduce(x))) + shortcut, inplace=True)


def residual_stages(
    blocks: Sequence[int], *, inputs: int = 64, width: float = 1.0, dilated: int = 0, block: Callable[..., nn.Module]
) -> nn.ModuleList:
    """Build the four stages between stem and features.

    Args:
        blocks: blocks per stage.
        inputs: channels of the stem.
        width: times the usual width of the 3x3 convolutions (ResNeXt's are wider).
        dilated: so many last stages dilate their filters instead of halving the features.
        block: makes a block of (inputs, outputs, width, stride=, dilation=).

    Returns:
        Stages of 256, 512, 1024 and 2048 channels.
    """
    stages, dilation = nn.ModuleList(), 1
    for index, (count, base) in enumerate(zip(blocks, _WIDTHS, strict=True)):
        stride, before = (1 if index == 0 else 2), dilation
        if index >= len(_WIDTHS) - dilated:
            stride, dilation = 1, 2 * dilation
        hidden, outputs = int(base * width), base * _EXPANSION
        layers = [block(inputs, outputs, hidden, stride=stride, dilation=before)]
        layers += [block(outputs, outputs, hidden, stride=1, dilation=dilation) for _ in range(count - 1)]
        stages.append(nn.Sequential(*layers))
        inputs = outputs
    return stages


class ResNet(nn.Module):
    """Features at four strides.

    Attributes:
        channels: of the features at strides 4, 8, 16 and 32.
    """

    channels = tuple(_EXPANSION * width for width in _WIDTHS)

    def __init__(
        self,
        blocks: Sequence[int] = RESNET50,
        *,
        groups: int = 1,
        width: float = 1.0,
        dilated: int = 0,
        inputs: int = 3,
    ) -> None:
        super().__init__()
        self.stem = ConvBn(inputs, 64, 7, stride=2)
        self.stages = residual_stages(blocks, width=width, dilated=dilated, block=partial(Bottleneck, groups=groups))
        self.multiple = 32 >> dilated

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(N, inputs, H, W) -> (N, C, H/s, W/s) for strides 4, 8, 16, 32; a dilated stage keeps the one before."""
        require_multiple(images, self.multiple, network="ResNet")
        c4 = self.stages[0](max_pool2d(self.stem(images), 3, stride=2, padding=1))
        c8 = self.stages[1](c4)
        c16 = self.stages[2](c8)
        return c4, c8, c16, self.stages[3](c16)


# the trunks that the papers name
resnet50 = partial(ResNet, blocks=RESNET50)
resnet101 = partial(ResNet, blocks=RESNET101)
resnet152 = partial(ResNet, blocks=RESNET152)
resnext50 = partial(ResNet, blocks=RESNET50, groups=32, width=2.0)  # 32 groups of 4 channels in the first stage
