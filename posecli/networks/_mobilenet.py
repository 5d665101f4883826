"""MobileNet-v2 trunk: features at strides 4, 8, 16 and 32.

Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, Table 2. The classifier is
left out, and unless the trunk is asked to be `whole` also the last stage (320 channels) and the 1x1 convolution to
1280: a pose decoder gains little from them and pays a third of the weights.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from posecli.networks._layers import ConvBn, require_multiple

# expansion, channels, blocks, stride of the first block
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2))
_LAST_STAGE, _LAST = (6, 320, 1, 1), 1280
_TAPS = (3, 6, 13)  # blocks (stem = 0) after which strides 4, 8, 16 are complete; 32 is after the last


class InvertedResidual(nn.Module):
    """Widen, filter each channel, narrow; a shortcut where the shape stays."""

    def __init__(self, inputs: int, outputs: int, *, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers = [ConvBn(inputs, hidden, 1, activation="relu6")] if expansion > 1 else []
        layers.append(ConvBn(hidden, hidden, stride=stride, groups=hidden, activation="relu6"))
        layers.append(ConvBn(hidden, outputs, 1, activation=None))
        self.layers = nn.Sequential(*layers)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:  # (N, inputs, H, W) -> (N, outputs, H/stride, W/stride)
        """Apply the three convolutions."""
        return x + self.layers(x) if self.shortcut else self.layers(x)


class MobileNetV2(nn.Module):
    """Features at four strides.

    Attributes:
        channels: of the features at strides 4, 8, 16 and 32.
    """

    def __init__(self, *, whole: bool = False) -> None:
        super().__init__()
        self.channels = (24, 32, 96, _LAST if whole else 160)
        blocks: list[nn.Module] = [ConvBn(3, 32, stride=2, activation="relu6")]
        inputs = 32
        for expansion, outputs, count, first_stride in (*_STAGES, _LAST_STAGE) if whole else _STAGES:
            for index in range(count):
                stride = first_stride if index == 0 else 1
                blocks.append(InvertedResidual(inputs, outputs, expansion=expansion, stride=stride))
                inputs = outputs
        if whole:
            blocks.append(ConvBn(inputs, _LAST, 1, activation="relu6"))
        self.blocks = nn.ModuleList(blocks)
        self.frozen = 0  # so many first blocks keep their weights and statistics

    def freeze(self, blocks: int) -> None:
        """Train only what comes after the first `blocks` blocks (the stem counts as one)."""
        self.frozen = blocks
        self.blocks[:blocks].requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> MobileNetV2:
        """Set the mode; frozen blocks stay in evaluation mode."""
        super().train(mode)
        self.blocks[: self.frozen].eval()
        return self

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> (N, C, H/s, W/s) for strides 4, 8, 16, 32."""
        require_multiple(images, 32, network="MobileNet-v2")
        taps, x = [], images
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in _TAPS:
                taps.append(x)
        return [*taps, x]


@torch.no_grad()
def load_folded(trunk: MobileNetV2, convolutions: Iterable[tuple[Tensor, Tensor]], images: Tensor) -> None:
    """Set the trunk to trained weights whose batch norms were folded into weight and bias, trainable again.

    Each batch norm gets the statistics that `images` cause before it, and a scale and shift that undo them: the
    function is unchanged, and training can go on. Stride-2 layers pad both sides by one where TensorFlow pads right
    and bottom; that only shifts the sampling grid, the features inside stay the same.

    Args:
        trunk: to be changed in place.
        convolutions: weight and bias in forward order; those after the trunk's last are ignored.
        images: (N, 3, H, W) float in [-1, 1], some dozens of typical inputs.

    Raises:
        ValueError: a weight's shape is not the trunk's.
    """
    layers = [module for module in trunk.modules() if isinstance(module, ConvBn)]
    biases: dict[nn.Module, Tensor] = {}
    for layer, (weight, bias) in zip(layers, convolutions, strict=False):
        if weight.shape != layer.conv.weight.shape:
            raise ValueError(f"found a weight of {tuple(weight.shape)}, wanted {tuple(layer.conv.weight.shape)}")
        layer.conv.weight.copy_(weight)
        biases[layer.bn] = bias.float()

    def calibrate(norm: nn.Module, inputs: tuple[Tensor]) -> None:
        if not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None or norm.running_var is None:
            raise ValueError("only an unfused trunk can be calibrated")
        variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)
        norm.weight.copy_((variance + norm.eps).sqrt())
        norm.bias.copy_(mean + biases[norm])

    hooks = [layer.bn.register_forward_pre_hook(calibrate) for layer in layers]
    trunk.eval()
    trunk(images)
    for hook in hooks:
        hook.remove()
    trunk.train()
