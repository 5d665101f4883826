"""Blocks that several networks share, and what is done to all of their batch norms."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, relu6
from torch.nn.utils.fusion import fuse_conv_bn_weights

# What oneDNN calls the rectifiers, and its arguments.
_IN_ONE: dict[str | None, tuple[str, list[float]]] = {
    None: ("none", []),
    "relu": ("relu", []),
    "relu6": ("hardtanh", [0.0, 6.0]),
}
TENSORFLOW_EPS = 1e-9  # of batch norms, in the official codes of CPN and PoseFix


class StridedDepthwise(nn.Conv2d):
    """A depthwise convolution with a stride, trained in float32 on a CPU.

    oneDNN's bfloat16 backward pass of these has no fast path: one of 576 channels took 17 times as long as in float32,
    and the three of a MobileNet-v2 a quarter of a training step.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """(N, C, H, W) -> (N, C, H/stride, W/stride), of the input's type."""
        if not (self.training and input.dtype == torch.bfloat16 and input.device.type == "cpu"):
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            return super().forward(input.float()).to(input.dtype)


class _NormedConvolution(nn.Module):
    """A convolution of either direction and its batch norm, with a rectifier unless `activation` is None.

    The weights are `conv.weight`, `conv.bias` where the public code has one, and `bn.*`.
    """

    def __init__(self, conv: nn.Conv2d | nn.ConvTranspose2d, activation: str | None) -> None:
        super().__init__()
        self.conv = conv
        self.bn: nn.Module = nn.BatchNorm2d(conv.out_channels)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
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
                self.conv.weight,
                self.conv.bias,
                mean,
                variance,
                self.bn.eps,
                self.bn.weight,
                self.bn.bias,
                transpose=isinstance(self.conv, nn.ConvTranspose2d),
            )
            self.bn = nn.Identity()


class ConvBn(_NormedConvolution):
    """Convolution, batch norm, rectifier: (N, inputs, H, W) -> (N, outputs, H/stride, W/stride).

    `bias` gives the convolution one although the batch norm swallows it, where public weights hold it.
    """

    def __init__(  # noqa: PLR0913 - a convolution has so many sides
        self,
        inputs: int,
        outputs: int,
        kernel: int | tuple[int, int] = 3,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
        activation: str | None = "relu",
    ) -> None:
        rows, columns = kernel if isinstance(kernel, tuple) else (kernel, kernel)
        padding = (rows // 2 * dilation, columns // 2 * dilation)
        kind = StridedDepthwise if stride > 1 and groups == inputs == outputs else nn.Conv2d
        conv = kind(inputs, outputs, (rows, columns), stride, padding, dilation, groups, bias)
        super().__init__(conv, activation)
        self._in_one = False

    def join(self, dtype: torch.dtype) -> None:
        """Convolve and rectify in one step from now on, in `dtype`, where the CPU's library can."""
        if isinstance(self.bn, nn.Identity) and hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
            self.conv.to(dtype)
            self._in_one = True

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, normalise, rectify."""
        if not self._in_one:
            return super().forward(x)
        conv = self.conv
        answer: Tensor = torch.ops.mkldnn._convolution_pointwise.default(  # the overload's name saves looking for it
            x.to(conv.weight.dtype),
            conv.weight,
            conv.bias,
            conv.padding,
            conv.stride,
            conv.dilation,
            conv.groups,
            *_IN_ONE[self.activation],
            "",
        )
        return answer


class DeconvBn(_NormedConvolution):
    """Transposed 4x4 convolution of stride 2, batch norm, rectifier: (N, inputs, H, W) -> (N, outputs, 2H, 2W)."""

    def __init__(self, inputs: int, outputs: int, *, activation: str | None = "relu") -> None:
        super().__init__(nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False), activation)


def fuse_batch_norm(network: nn.Module) -> nn.Module:
    """Fold every batch norm of an evaluation-mode network into its convolution, in place; same answers, faster."""
    for module in network.modules():
        if isinstance(module, _NormedConvolution):
            module.fuse()
    return network


def join_rectifiers(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Let a network whose batch norms are folded convolve and rectify in one step on a CPU, in place.

    The step is the one that torch's own compiler takes; without the compiler, it comes without seconds of start-up.
    It saves a pass over each layer's features, and torch's slower convolutions of 1 x 1 where a thread has one core.

    Args:
        network: for inference on a CPU; it cannot be exported any more.
        dtype: what these layers compute in.
    """
    for module in network.modules():
        if isinstance(module, ConvBn):
            module.join(dtype)
    return network


def set_batch_norm(network: nn.Module, *, eps: float, momentum: float = 0.1) -> nn.Module:
    """Give every batch norm of a network another eps and momentum than PyTorch's, in place.

    The eps belongs to the weights: TensorFlow's and torchvision's checkpoints were not all made with 1e-5.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps, module.momentum = eps, momentum
    return network


class FrozenBatchNorm(nn.BatchNorm2d):
    """A batch norm that training leaves alone: its scale and shift are constants like its statistics."""

    def __init__(self, channels: int, *, eps: float) -> None:
        super().__init__(channels, eps)
        for name in ("weight", "bias"):
            constant = getattr(self, name).detach()
            delattr(self, name)
            self.register_buffer(name, constant)
        self.train()

    def train(self, mode: bool = True) -> FrozenBatchNorm:
        """Stay in evaluation mode."""
        super().train(False)
        return self


def freeze_batch_norm(network: nn.Module, *, eps: float) -> nn.Module:
    """Replace every batch norm of a network by a frozen one, in place."""
    for module in network.modules():
        if isinstance(module, _NormedConvolution):
            module.bn = FrozenBatchNorm(module.conv.out_channels, eps=eps)
    return network


def require_multiple(images: Tensor, multiple: int, *, network: str, at_least: int = 1) -> None:
    """Refuse (N, C, H, W) images whose sides a network cannot halve often enough.

    Raises:
        ValueError: a side is not a multiple of `multiple`, or smaller than `at_least`.
    """
    height, width = images.shape[-2:]
    if height % multiple or width % multiple or min(height, width) < at_least:
        wanted = f"sides that are multiples of {multiple}" + (f", {at_least} or more" if at_least > 1 else "")
        raise ValueError(f"{network} got images of {height}x{width}, wants {wanted}")


class Residual(nn.Module):
    """Two dense 3x3 convolutions around a shortcut that is convolved where the shape changes.

    Source: He et al., CVPR 2016, basic block.
    """

    def __init__(self, inputs: int, outputs: int | None = None, *, stride: int = 1) -> None:
        super().__init__()
        outputs = outputs or inputs
        self.first = ConvBn(inputs, outputs, stride=stride)
        self.second = ConvBn(outputs, outputs, activation=None)
        changes = stride > 1 or inputs != outputs
        self.shortcut = ConvBn(inputs, outputs, 1, stride=stride, activation=None) if changes else None

    def forward(self, x: Tensor) -> Tensor:  # (N, inputs, H, W) -> (N, outputs, H/stride, W/stride)
        """Add what the two convolutions find."""
        shortcut = x if self.shortcut is None else self.shortcut(x)
        return relu(shortcut + self.second(self.first(x)), inplace=True)
