"""PRS, the pose refinement sub-net: a hourglass with a head at every scale, and a regression over all of them.

Source: Ke et al., "DetPoseNet: Improving Multi-Person Pose Estimation via Coarse-Pose Filtering", section III-C and
Fig. 4; first in Ke et al., "Multi-Scale Structure-Aware Network for Human Pose Estimation", ECCV 2018. There is no
public code. Where the paper is silent: the conv half of the first hourglass is a MobileNet-v2, because an ImageNet
start is worth more than any block design at this size; all other convolutions are dense, because depthwise ones are
slow on a CPU; the MSR is itself a small hourglass, so that it sees the whole body.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from posecli.geometry.heatmaps import HeatmapCodec
from posecli.networks._layers import ConvBn, Residual
from posecli.networks._mobilenet import MobileNetV2
from posecli.networks._spec import ModelSpec


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


class MultiScaleRegression(nn.Module):
    """MSR, section III-C2: judge the heatmaps of all scales together and answer with one set."""

    def __init__(self, features: int, heatmaps: int, *, width: int, keypoints: int) -> None:
        super().__init__()
        self.enter = ConvBn(features + heatmaps, width, 1)
        self.down8 = ConvBn(width, width + 16, stride=2)
        self.down16 = nn.Sequential(ConvBn(width + 16, 2 * width, stride=2), Residual(2 * width))
        self.up8 = UpStep(2 * width, width + 16, width + 16)
        self.up4 = UpStep(width + 16, width, width)
        self.head = nn.Conv2d(width, keypoints, 1)

    def forward(self, features: Tensor, heatmaps: list[Tensor]) -> Tensor:
        """(N, C, h, w) features and (N, K, <=h, <=w) heatmaps -> (N, K, h, w)."""
        size = features.shape[-2:]
        resized = [heatmap if heatmap.shape[-2:] == size else interpolate(heatmap, size) for heatmap in heatmaps]
        x4 = self.enter(torch.cat((features, *resized), dim=1))
        x8 = self.down8(x4)
        return self.head(self.up4(self.up8(self.down16(x8), x8), x4))


class PoseRefinementNet(nn.Module):
    """MobileNet-v2 down, dense up with multi-scale supervision (MSS, section III-C1), then MSR."""

    def __init__(self, *, widths: tuple[int, int, int] = (32, 64, 96), keypoints: int = 17) -> None:
        super().__init__()
        width4, width8, width16 = widths
        self.trunk = MobileNetV2()
        skip4, skip8, skip16, bottom = self.trunk.channels
        self.up16 = UpStep(bottom, skip16, width16)
        self.up8 = UpStep(width16, skip8, width8)
        self.up4 = UpStep(width8, skip4, width4)
        self.heads = nn.ModuleList(nn.Conv2d(width, keypoints, 1) for width in (width16, width8, width4))
        self.msr = MultiScaleRegression(width4, 3 * keypoints, width=width4, keypoints=keypoints)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) normalised crops -> heatmaps (N, K, H/s, W/s) for s = 16, 8, 4 and the MSR's at 4."""
        c4, c8, c16, c32 = self.trunk(images)
        x16 = self.up16(c32, c16)
        x8 = self.up8(x16, c8)
        x4 = self.up4(x8, c4)
        heatmaps = [head(x) for head, x in zip(self.heads, (x16, x8, x4), strict=True)]
        return (*heatmaps, self.msr(x4, heatmaps))


SPECS = (
    ModelSpec(
        name="prs-tiny",
        kind="refiner",
        build=partial(PoseRefinementNet),
        input_hw=(256, 192),
        codec=HeatmapCodec(stride=4, heatmap_sigma=2.0, blur=5),
        source="DetPoseNet III-C",
    ),
)
