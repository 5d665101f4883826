"""HRNet: four resolutions in parallel that keep telling each other what they see.

Source: Sun et al., "Deep High-Resolution Representation Learning for Human Pose Estimation", CVPR 2019, section 3;
code leoxiaobin/deep-high-resolution-net.pytorch, which mmpose follows name by name.

Weights, beside those of the public code:

    conv1, bn1; conv2, bn2                        body.stem.0, body.stem.1 (.conv, .bn)
    layer1.B.*                                    body.first.B.*, as in `_resnet`
    transitionT.I.0, .1 or transitionT.I.0.0, .1  body.stages.{T-1}.enter.I.conv, .bn
    stageT.U.branches.I.B.convC, .bnC             body.stages.{T-2}.units.U.branches.I.B.{first, second}.conv, .bn
    stageT.U.fuse_layers.I.J.0, .1   (J > I)      body.stages.{T-2}.units.U.paths.I.J.conv, .bn
    stageT.U.fuse_layers.I.J.K.0, .1 (J < I)      body.stages.{T-2}.units.U.paths.I.J.K.conv, .bn
    final_layer                                   head
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

from posecli.geometry.heatmaps import HeatmapCodec
from posecli.networks._layers import ConvBn, Residual, require_multiple
from posecli.networks._resnet import Bottleneck
from posecli.networks._spec import IMAGENET_MEAN, IMAGENET_STD, ModelSpec
from posecli.skeleton import NUM_KEYPOINTS

_UNITS = (1, 4, 3)  # exchange units of the stages with two, three and four resolutions
_BLOCKS = 4  # residual blocks of a branch in each unit


def _path(channels: Sequence[int], source: int, target: int) -> nn.Module:
    """Build the way from one resolution to another; upsampling is left to the unit."""
    if source == target:
        return nn.Identity()
    if source > target:
        return ConvBn(channels[source], channels[target], 1, activation=None)
    steps = [ConvBn(channels[source], channels[source], stride=2) for _ in range(target - source - 1)]
    return nn.Sequential(*steps, ConvBn(channels[source], channels[target], stride=2, activation=None))


class ExchangeUnit(nn.Module):
    """Filter each resolution by itself, then give each the sum of all, resized (Fig. 3 of the paper)."""

    def __init__(self, channels: Sequence[int], *, outputs: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*(Residual(width) for _ in range(_BLOCKS))) for width in channels)
        self.paths = nn.ModuleList(
            nn.ModuleList(_path(channels, source, target) for source in range(len(channels)))
            for target in range(outputs)
        )

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """(N, C_i, H/2^i, W/2^i) for every i -> the same for the first `outputs` of them."""
        features = [branch(x) for branch, x in zip(self.branches, features, strict=True)]
        fused = []
        for target, paths in enumerate(self.paths):
            total = paths[0](features[0])  # type: ignore[index] # a ModuleList of ModuleLists
            for source in range(1, len(features)):
                part = paths[source](features[source])  # type: ignore[index]
                total = total + (interpolate(part, scale_factor=2.0 ** (source - target)) if source > target else part)
            fused.append(relu(total))
        return fused


class Stage(nn.Module):
    """Open one more resolution below the last, then exchange several times."""

    def __init__(self, before: Sequence[int], channels: Sequence[int], *, units: int, outputs: int) -> None:
        super().__init__()
        kept = [ConvBn(old, new) if old != new else nn.Identity() for old, new in zip(before, channels, strict=False)]
        self.enter = nn.ModuleList([*kept, ConvBn(before[-1], channels[-1], stride=2)])
        counts = [len(channels)] * (units - 1) + [outputs]
        self.units = nn.ModuleList(ExchangeUnit(channels, outputs=count) for count in counts)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """(N, C_i, H/2^i, W/2^i) for every i -> the first `outputs` of one more."""
        features = [enter(x) for enter, x in zip(self.enter, [*features, features[-1]], strict=True)]
        for unit in self.units:
            features = unit(features)
        return features


class HRNetBody(nn.Module):
    """Everything before the head, to be used as a trunk too.

    Attributes:
        channels: of the features that come out.
    """

    def __init__(self, width: int = 32, *, outputs: int = 1) -> None:
        """Build the body.

        Args:
            width: channels at stride 4; each halving doubles them.
            outputs: how many resolutions come out, finest first: 1 for a head at stride 4, 4 for all.
        """
        super().__init__()
        channels = [width << level for level in range(4)]
        self.channels = tuple(channels[:outputs])
        self.stem = nn.Sequential(ConvBn(3, 64, stride=2), ConvBn(64, 64, stride=2))
        self.first = nn.Sequential(Bottleneck(64, 256, 64), *(Bottleneck(256, 256, 64) for _ in range(3)))
        self.stages = nn.ModuleList()
        before = [256]
        for level, units in enumerate(_UNITS, start=2):
            count = level if level < len(channels) else outputs
            self.stages.append(Stage(before, channels[:level], units=units, outputs=count))
            before = channels[:level]

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W), H and W multiples of 32 -> (N, width * 2^i, H/s, W/s) for s = 4, 8, 16, 32."""
        *_, features = self.each_stage(images)
        return features

    def each_stage(self, images: Tensor) -> Iterator[list[Tensor]]:
        """Yield what each of the four stages makes of (N, 3, H, W), finest first."""
        require_multiple(images, 32, network="HRNet")
        features = [self.first(self.stem(images))]
        yield features
        for stage in self.stages:
            features = stage(features)
            yield features


class HRNet(nn.Module):
    """The body and a 1x1 convolution on its finest features."""

    def __init__(self, width: int = 32, *, keypoints: int = NUM_KEYPOINTS) -> None:
        super().__init__()
        self.body = HRNetBody(width)
        self.head = nn.Conv2d(width, keypoints, 1)

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """(N, 3, H, W) normalised crops, H and W multiples of 32 -> one (N, K, H/4, W/4)."""
        return (self.head(self.body(images)[0]),)


def _spec(width: int, input_hw: tuple[int, int], reported_ap: float) -> ModelSpec:
    large = input_hw == (384, 288)
    return ModelSpec(
        name=f"hrnet-w{width}" + ("-384x288" if large else ""),
        kind="refiner",
        build=partial(HRNet, width=width),
        input_hw=input_hw,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        codec=HeatmapCodec(
            stride=4, heatmap_sigma=3.0 if large else 2.0, offset=0.0, subpixel="quarter", flip_shift=1.0
        ),
        source="Sun et al., CVPR 2019; leoxiaobin/deep-high-resolution-net.pytorch",
        license="MIT",
        reported_ap=reported_ap,
        reported_on="COCO val2017, boxes of a detector with person AP 56.4, flip test",
    )


SPECS = (
    _spec(32, (256, 192), 0.744),
    _spec(48, (256, 192), 0.751),
    _spec(32, (384, 288), 0.758),
    _spec(48, (384, 288), 0.763),
)
