"""The half-light hourglass that DetPoseNet and PRS share: a heavy trunk down, light steps up again.

Source: Newell et al., "Stacked Hourglass Networks for Human Pose Estimation", ECCV 2016, for the shape; Ke et al.,
"DetPoseNet", section III-A: "asymmetric", the way down being heavy and shared, the way up light.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.functional import interpolate

from posecli.networks._layers import ConvBn, Residual


class UpStep(nn.Module):
    """Climb one scale: double the size, add the skip, mix."""

    def __init__(self, inputs: int, skip: int, outputs: int) -> None:
        super().__init__()
        self.narrow = ConvBn(inputs, outputs, 1)
        self.lateral = ConvBn(skip, outputs, 1)
        self.mix = Residual(outputs)

    def forward(
        self, x: Tensor, skip: Tensor
    ) -> Tensor:  # (N, inputs, h, w), (N, skip, 2h, 2w) -> (N, outputs, 2h, 2w)
        """Upsample `x` and fuse it with `skip`."""
        return self.mix(interpolate(self.narrow(x), scale_factor=2.0) + self.lateral(skip))


class Scales(NamedTuple):
    """Features at strides 4, 8, 16 and 32; on the way up the last one is the bottom, shared with the way down."""

    at4: Tensor
    at8: Tensor
    at16: Tensor
    at32: Tensor


class AsymmetricHourglass(nn.Module):
    """A way down to the fourth scale and three steps up to the first; with a usual trunk, to strides 32 and 4.

    Args:
        trunk: the way down, features at four scales.
        channels: of these features, finest first.
        widths: channels on the way up, finest first.
    """

    def __init__(self, trunk: nn.Module, channels: Sequence[int], widths: tuple[int, int, int]) -> None:
        super().__init__()
        width4, width8, width16 = widths
        self.trunk = trunk
        skip4, skip8, skip16, bottom = channels
        self.up16 = UpStep(bottom, skip16, width16)
        self.up8 = UpStep(width16, skip8, width8)
        self.up4 = UpStep(width8, skip4, width4)

    def scales(self, x: Tensor) -> tuple[Scales, Scales]:
        """Return the features on the way down and on the way up."""
        down = Scales(*self.trunk(x))
        x16 = self.up16(down.at32, down.at16)
        x8 = self.up8(x16, down.at8)
        return down, Scales(self.up4(x8, down.at4), x8, x16, down.at32)
