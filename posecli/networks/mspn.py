"""MSPN: ResNet encoders and light decoders in a row, each stage fed with the features of the one before.

Source: Li et al., "Rethinking on Multi-Stage Networks for Human Pose Estimation", arXiv:1901.00148, section 3; code
megvii-detection/MSPN. Its convolutions have biases under their batch norms (mmpose's have none: zeros there), its
resizing is bilinear with aligned corners, and its heatmaps of all scales come out at stride 4. Supervision is coarse
to fine (section 3.4): targets sharpen with the scale and once more in the last stage.

`refine50-*` puts Refine-50 into this frame: Yu et al., "Towards Good Practices for Multi-Person Pose Estimation",
COCO and Mapillary workshop at ICCV 2019. The report names its trunk, which "can well handle the scale variant cases",
and does not define it. Our reading: ResNet-50 with the hierarchical split of Gao et al., "Res2Net", TPAMI 2019, in
place of its 3x3 convolutions, in that paper's 26w x 4s, which keeps ResNet-50's size.

Weights, beside those of the public code:

    top.conv                                       stem
    stageS.downsample.layerL.B.conv_bn_reluC       stages.S.encoder.{L-1}.B.{reduce, filter, expand}   for C = 1, 2, 3
    stageS.downsample.layerL.0.downsample          stages.S.encoder.{L-1}.0.shortcut
    stageS.upsample.upU.{u_skip, up_conv}          stages.S.decoder.{U-1}.{lateral, climb}
    stageS.upsample.upU.{res_conv1, res_conv2}     stages.S.decoder.{U-1}.head.{0, 1}
    stageS.upsample.upU.{skip1, skip2}             stages.S.decoder.{U-1}.{encoder_skip, decoder_skip}
    stageS.upsample.up4.cross_conv                 stages.S.cross
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d, relu

from posecli.geometry.heatmaps import HeatmapCodec
from posecli.networks._layers import ConvBn, require_multiple
from posecli.networks._resnet import RESNET50, Bottleneck, ResNet, residual_stages
from posecli.networks._spec import ModelSpec
from posecli.skeleton import NUM_KEYPOINTS

_WIDTH = 256  # of the decoders
_STEM = 64
_SIGMAS = (2.6, 2.0, 1.7, 1.4, 1.1)  # of OpenCV's filters of 15, 11, 9, 7 and 5 cells, which draw the targets


def _resize(x: Tensor, like: Tensor) -> Tensor:
    return interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=True)


class UpUnit(nn.Module):
    """Climb to one encoder level: add what comes from below, answer, hand features to the next stage."""

    def __init__(self, inputs: int, *, lowest: bool, hands_over: bool, keypoints: int) -> None:
        super().__init__()
        point = partial(ConvBn, kernel=1, bias=True)
        self.lateral = point(inputs, _WIDTH, activation=None)
        self.climb = None if lowest else point(_WIDTH, _WIDTH, activation=None)
        self.encoder_skip = point(inputs, inputs) if hands_over else None
        self.decoder_skip = point(_WIDTH, inputs) if hands_over else None
        self.head = nn.Sequential(point(_WIDTH, _WIDTH), ConvBn(_WIDTH, keypoints, bias=True, activation=None))

    def forward(self, encoded: Tensor, below: Tensor | None) -> Tensor:
        """(N, inputs, h, w) and (N, 256, h/2, w/2) -> (N, 256, h, w)."""
        features = self.lateral(encoded)
        if self.climb is not None and below is not None:
            features = features + self.climb(_resize(below, features))
        return relu(features)

    def skip(self, encoded: Tensor, decoded: Tensor) -> Tensor | None:
        """Return what the next stage's encoder adds at this level: (N, inputs, h, w), or None in the last stage."""
        if self.encoder_skip is None or self.decoder_skip is None:
            return None
        return self.encoder_skip(encoded) + self.decoder_skip(decoded)


class Stage(nn.Module):
    """One encoder and decoder; `hands_over` if another stage follows."""

    def __init__(
        self,
        block: Callable[..., nn.Module],
        *,
        blocks: Sequence[int],
        width: float,
        hands_over: bool,
        keypoints: int,
    ) -> None:
        super().__init__()
        self.encoder = residual_stages(blocks, inputs=_STEM, width=width, block=block)
        self.decoder = nn.ModuleList(
            UpUnit(inputs, lowest=number == 0, hands_over=hands_over, keypoints=keypoints)
            for number, inputs in enumerate(reversed(ResNet.channels))
        )
        self.cross = ConvBn(_WIDTH, _STEM, 1, bias=True) if hands_over else None

    def forward(
        self, x: Tensor, skips: Sequence[Tensor | None]
    ) -> tuple[list[Tensor], list[Tensor | None], Tensor | None]:
        """Pass down and up once.

        Args:
            x: (N, 64, h, w) stem features.
            skips: for each encoder level, finest first, what the stage before hands over, or None.

        Returns:
            Four (N, K, h, w) heatmaps, coarse first; the skips for the next stage; its (N, 64, h, w) stem features.
        """
        encoded = []
        for level, skip in zip(self.encoder, skips, strict=True):
            x = level(x) if skip is None else level(x) + skip
            encoded.append(x)
        features, heatmaps, handed = None, [], []
        for unit, level_features in zip(self.decoder, reversed(encoded), strict=True):
            features = unit(level_features, features)
            heatmaps.append(_resize(unit.head(features), encoded[0]))  # type: ignore[operator] # an UpUnit
            handed.append(unit.skip(level_features, features))  # type: ignore[operator]
        return heatmaps, handed[::-1], None if self.cross is None else self.cross(features)


class MSPN(nn.Module):
    """Stages in a row behind one stem."""

    def __init__(
        self,
        stages: int = 4,
        *,
        block: Callable[..., nn.Module] = Bottleneck,
        blocks: Sequence[int] = RESNET50,
        width: float = 1.0,
        keypoints: int = NUM_KEYPOINTS,
    ) -> None:
        """Build the network.

        Args:
            stages: encoders and decoders in a row.
            block: makes a residual block, see `residual_stages`.
            blocks: of an encoder's four levels.
            width: times ResNet's width inside the blocks.
            keypoints: heatmaps of an answer.
        """
        super().__init__()
        self.stem = ConvBn(3, _STEM, 7, stride=2, bias=True)
        build = partial(Stage, partial(block, bias=True), blocks=blocks, width=width, keypoints=keypoints)
        self.stages = nn.ModuleList(build(hands_over=number < stages - 1) for number in range(stages))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) normalised crops, H and W multiples of 32 -> four (N, K, H/4, W/4) per stage, coarse first."""
        require_multiple(images, 32, network="MSPN")
        x = max_pool2d(self.stem(images), 3, stride=2, padding=1)
        skips: list[Tensor | None] = [None] * len(ResNet.channels)
        answers: list[Tensor] = []
        for stage in self.stages:
            heatmaps, skips, x = stage(x, skips)
            answers += heatmaps
        return tuple(answers)


class HierarchicalSplit(nn.Module):
    """Four slices of the channels, each filtered together with the one before: receptive fields of four sizes.

    Where it strides, the slices are filtered apart and the first is averaged, as in Res2Net's code: no slice has the
    size that the next one needs.
    """

    slices = 4

    def __init__(self, width: int, *, stride: int, dilation: int, bias: bool) -> None:
        super().__init__()
        part = width // self.slices
        self.stride = stride
        self.filters = nn.ModuleList(
            ConvBn(part, part, stride=stride, dilation=dilation, bias=bias) for _ in range(self.slices - 1)
        )

    def forward(self, x: Tensor) -> Tensor:  # (N, width, H, W) -> (N, width, H/stride, W/stride)
        """Filter slice by slice."""
        first, *others = x.chunk(self.slices, dim=1)
        done = [first if self.stride == 1 else avg_pool2d(first, 3, self.stride, padding=1)]
        for number, (layer, part) in enumerate(zip(self.filters, others, strict=True)):
            joined = part + done[-1] if self.stride == 1 and number else part
            done.append(layer(joined))
        return torch.cat(done, dim=1)


class SplitBottleneck(Bottleneck):
    """A bottleneck with a hierarchical split for its 3x3 convolution."""

    def make_filter(self, width: int, *, stride: int, dilation: int, groups: int, bias: bool) -> nn.Module:
        """(N, width, H, W) -> (N, width, H/stride, W/stride)."""
        if groups != 1:
            raise ValueError(f"a hierarchical split has no groups, got {groups}")
        return HierarchicalSplit(width, stride=stride, dilation=dilation, bias=bias)


_refine50 = partial(MSPN, block=SplitBottleneck, width=26 * HierarchicalSplit.slices / 64)


def _spec(name: str, build: Callable[..., MSPN], stages: int, input_hw: tuple[int, int], ap: float | None) -> ModelSpec:
    sharp, last = _SIGMAS[:-1], _SIGMAS[1:]
    source = "Li et al., arXiv:1901.00148; megvii-detection/MSPN" if name == "mspn" else "Yu et al., ICCV 2019 workshop"
    return ModelSpec(
        name=f"{name}-{stages}" + ("-384x288" if input_hw == (384, 288) else ""),
        kind="refiner",
        build=partial(build, stages=stages),
        input_hw=input_hw,
        bgr=True,
        mean=(0.406, 0.456, 0.485),
        std=(0.225, 0.224, 0.229),
        margin=(1.09, 1.135),
        codec=HeatmapCodec(stride=4, heatmap_sigma=_SIGMAS[-1], offset=2.0, subpixel="second_peak", blur=5),
        target_sigmas=sharp * (stages - 1) + last,
        source=source,
        license="MIT" if name == "mspn" else "",
        reported_ap=ap,
        reported_on="COCO val2017, boxes of its own detector, flip test" if ap else "",
    )


SPECS = (
    *(_spec("mspn", MSPN, stages, (256, 192), ap) for stages, ap in ((1, 0.715), (2, 0.745), (3, 0.752), (4, 0.759))),
    *(_spec("mspn", MSPN, stages, (384, 288), None) for stages in (1, 2, 3)),
    _spec("mspn", MSPN, 4, (384, 288), 0.769),
    _spec("refine50", _refine50, 4, (256, 192), 0.760),
    _spec("refine50", _refine50, 4, (384, 288), 0.775),
)
