"""Blocks that several networks share."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import relu, relu6
from torch.nn.utils.fusion import fuse_conv_bn_weights


class ConvBn(nn.Module):
    """Convolution and batch norm, with a rectifier unless `activation` is None."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        groups: int = 1,
        activation: str | None = "relu",
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(outputs)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:  # (N, inputs, H, W) -> (N, outputs, H/stride, W/stride)
        """Convolve, normalise, rectify."""
        x = self.bn(self.conv(x))
        if self.activation == "relu":
            return relu(x, inplace=True)
        if self.activation == "relu6":
            return relu6(x, inplace=True)
        return x

    def fuse(self) -> None:
        """Fold the batch norm's inference form into the convolution; training is over after that."""
        if isinstance(self.bn, nn.BatchNorm2d):
            mean, variance = self.bn.running_mean, self.bn.running_var
            if mean is None or variance is None:
                raise ValueError("a batch norm without running statistics cannot be folded")
            self.conv.weight, self.conv.bias = fuse_conv_bn_weights(
                self.conv.weight, None, mean, variance, self.bn.eps, self.bn.weight, self.bn.bias
            )
            self.bn = nn.Identity()


def fuse_batch_norm(network: nn.Module) -> nn.Module:
    """Fold every batch norm of an evaluation-mode network into its convolution, in place; same answers, faster."""
    for module in network.modules():
        if isinstance(module, ConvBn):
            module.fuse()
    return network


class Residual(nn.Module):
    """Two dense 3x3 convolutions around a shortcut. Source: He et al., CVPR 2016, basic block."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvBn(channels, channels)
        self.second = ConvBn(channels, channels, activation=None)

    def forward(self, x: Tensor) -> Tensor:  # (N, channels, H, W) -> same
        """Add what the two convolutions find."""
        return relu(x + self.second(self.first(x)), inplace=True)
