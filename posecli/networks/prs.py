"""PRS, the pose refinement sub-net: hourglasses with a head at every scale, and a regression over all of them.

Source: Ke et al., "DetPoseNet: Improving Multi-Person Pose Estimation via Coarse-Pose Filtering", section III-C and
Fig. 4; first in Ke et al., "Multi-Scale Structure-Aware Network for Human Pose Estimation", ECCV 2018. There is no
public code. Where the paper is silent: the way down of the first hourglass is a usual trunk, because an ImageNet start
is worth more than any block design; all other convolutions are dense, because depthwise ones are slow on a CPU; the MSR
is itself a small hourglass, so that it sees the whole body. The paper's inputs are 256 and 384 high (Fig. 9); of "n
stacks, as memory allows", `base` has two and `large` four.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from posecli.geometry.heatmaps import HeatmapCodec
from posecli.networks._decoder import AsymmetricHourglass, UpStep
from posecli.networks._layers import ConvBn, Residual
from posecli.networks._mobilenet import MobileNetV2
from posecli.networks._resnet import ResNet, resnet50, resnet101
from posecli.networks._spec import IMAGENET_MEAN, IMAGENET_STD, ModelSpec
from posecli.skeleton import NUM_KEYPOINTS


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
        x4 = self.enter(beside(features, heatmaps))
        x8 = self.down8(x4)
        return self.head(self.up4(self.up8(self.down16(x8), x8), x4))


class SupervisedHourglass(AsymmetricHourglass):
    """MSS, section III-C1: heatmaps at every scale on the way up, each judged in training."""

    def __init__(
        self, trunk: nn.Module, channels: Sequence[int], widths: tuple[int, int, int], *, keypoints: int
    ) -> None:
        super().__init__(trunk, channels, widths)
        self.heads = nn.ModuleList(nn.Conv2d(width, keypoints, 1) for width in reversed(widths))

    def supervise(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the features of the finest scale, and (N, K, h, w) heatmaps, coarse first."""
        _, up = self.scales(x)
        return up.at4, [head(level) for head, level in zip(self.heads, (up.at16, up.at8, up.at4), strict=True)]


class DenseTrunk(nn.Module):
    """The way down of a later hourglass: from the finest scale on."""

    def __init__(self, inputs: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.enter = ConvBn(inputs, channels[0], 1)
        self.down = nn.ModuleList(
            nn.Sequential(ConvBn(inner, outer, stride=2), Residual(outer)) for inner, outer in pairwise(channels)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, inputs, h, w) -> (N, C, h/s, w/s) for s = 1, 2, 4, 8."""
        levels = [self.enter(x)]
        for step in self.down:
            levels.append(step(levels[-1]))
        return levels


class LaterHourglass(SupervisedHourglass):
    """One more hourglass: it sees the features and heatmaps of the one before, and adds to its features."""

    def __init__(self, widths: tuple[int, int, int], *, keypoints: int) -> None:
        channels = (*widths, widths[-1])
        super().__init__(DenseTrunk(widths[0] + 3 * keypoints, channels), channels, widths, keypoints=keypoints)

    def forward(self, features: Tensor, heatmaps: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """(N, C, h, w) and three of (N, K, <=h, <=w) -> the same, better."""
        more, heatmaps = self.supervise(beside(features, heatmaps))
        return features + more, heatmaps


class PoseRefinementNet(SupervisedHourglass):
    """Hourglasses one after the other, itself being the first, then the MSR.

    Args:
        trunk: the way down of the first hourglass.
        widths: channels on the way up at strides 4, 8 and 16.
        stacks: hourglasses.
        regression: answer with the MSR; false: with the last hourglass's finest heatmaps, as a plain hourglass does.
        keypoints: heatmaps.
    """

    def __init__(
        self,
        trunk: Callable[[], MobileNetV2 | ResNet] = MobileNetV2,
        *,
        widths: tuple[int, int, int] = (32, 64, 96),
        stacks: int = 1,
        regression: bool = True,
        keypoints: int = NUM_KEYPOINTS,
    ) -> None:
        down = trunk()
        super().__init__(down, down.channels, widths, keypoints=keypoints)
        msr = MultiScaleRegression(widths[0], 3 * keypoints, width=widths[0], keypoints=keypoints)
        self.msr = msr if regression else None
        self.later = nn.ModuleList(LaterHourglass(widths, keypoints=keypoints) for _ in range(stacks - 1))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) normalised crops -> heatmaps (N, K, H/s, W/s): all hourglasses' for s = 16, 8, 4, the MSR's."""
        features, heatmaps = self.supervise(images)
        stacks = [heatmaps]
        for hourglass in self.later:
            features, heatmaps = hourglass(features, heatmaps)
            stacks.append(heatmaps)
        by_scale = [heatmap for scale in zip(*stacks, strict=True) for heatmap in scale]
        return tuple(by_scale) if self.msr is None else (*by_scale, self.msr(features, heatmaps))


def beside(features: Tensor, heatmaps: Sequence[Tensor]) -> Tensor:
    """Put (N, C, h, w) features and smaller heatmaps, brought to their size, side by side."""
    size = features.shape[-2:]
    resized = [heatmap if heatmap.shape[-2:] == size else interpolate(heatmap, size) for heatmap in heatmaps]
    return torch.cat((features, *resized), dim=1)


def _spec(name: str, trunk: Callable[[], ResNet], *, stacks: int, large: bool = False) -> ModelSpec:
    return ModelSpec(
        name=f"{name}-384x288" if large else name,
        kind="refiner",
        build=partial(PoseRefinementNet, trunk, widths=(128, 192, 256), stacks=stacks),
        input_hw=(384, 288) if large else (256, 192),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        codec=HeatmapCodec(stride=4, heatmap_sigma=3.0 if large else 2.0, blur=5),
        source="DetPoseNet III-C, Fig. 4",
    )


SPECS = (
    ModelSpec(
        name="prs-tiny",
        kind="refiner",
        build=partial(PoseRefinementNet),
        input_hw=(256, 192),
        codec=HeatmapCodec(stride=4, heatmap_sigma=2.0, subpixel="paraboloid", blur=5),
        source="DetPoseNet III-C",
    ),
    _spec("prs-base", resnet50, stacks=2),
    _spec("prs-base", resnet50, stacks=2, large=True),
    _spec("prs-large", resnet101, stacks=4),
    _spec("prs-large", resnet101, stacks=4, large=True),
)
