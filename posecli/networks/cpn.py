"""CPN: GlobalNet, a feature pyramid with a prediction at every level, and RefineNet, which joins the levels.

Source: Chen et al., "Cascaded Pyramid Network for Multi-Person Pose Estimation", CVPR 2018, section 3.2 and Tables 5-7;
the official TensorFlow code, `models/COCO.res50.256x192.CPN/network.py`, whose layout and arithmetic this file has:
bilinear enlargement as TensorFlow 1 does it (`enlarge`), batch norm after the prediction layers as after all others but
the pyramid's merging ones, its eps of 1e-9 (see posefix.py), a ResNet that pads by hand (as PyTorch does, not
TensorFlow's right and bottom) with its stride in the 3x3 convolution. GlobalNet's predictions are all enlarged to
stride 4. Online hard keypoint mining is a matter of training: `LossConfig.hardest`, 8 in the paper.

The paper's final trunk is called ResNet-Inception, without a size: we read Inception-ResNet-v2.

Weights, beside the official names (convolutions turned from HWIO to OIHW; `moving_*` are `bn.running_*`), with resL,
L = 2 to 5, at index L - 2 of each list:

    resnet_v1_50/...                        trunk, as in posefix.py
    lateral/resL, tmp/resL, pyramid/resL    global_net.laterals, .mixes, .heads: .conv, .bn
    merge/resL, L < 5                       global_net.merges
    resL/refine_convB/convC                 refine_net.cascades.{L-2}.B.{reduce, filter, expand}: .conv, .bn
    final_bottleneck/convC, /shortcut       refine_net.final.{reduce, filter, expand}, .shortcut: .conv, .bn
    refine_out                              refine_net.head: .conv, .bn
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from posecli.geometry.heatmaps import HeatmapCodec
from posecli.networks._inception import InceptionResNetV2
from posecli.networks._layers import TENSORFLOW_EPS, ConvBn, set_batch_norm
from posecli.networks._resnet import Bottleneck, resnet50, resnet101, resnext50
from posecli.networks._spec import ModelSpec
from posecli.skeleton import NUM_KEYPOINTS

_WIDTH = 256
PEAK = 255.0  # of the heatmaps
_SPREAD = 0.04  # of a target with one Gaussian, in peaks: where the prediction layers' norms start
# bottlenecks on each level from stride 4 to 32; Table 6, rows 2 to 4
REFINERS = {"concat": (0, 0, 0, 0), "one": (1, 1, 1, 1), "cascade": (0, 1, 2, 3)}


def enlarge(x: Tensor, factor: int) -> Tensor:
    """Enlarge (N, C, H, W) by a whole factor as TensorFlow 1's `resize_bilinear` does.

    Cell i of the input lies on cell factor * i of the answer; what comes after the last is the last again.
    """
    if factor == 1:
        return x
    height, width = x.shape[-2:]
    wider = pad(x, (0, 1, 0, 1), mode="replicate")
    size = (factor * height + 1, factor * width + 1)
    return interpolate(wider, size, mode="bilinear", align_corners=True)[..., :-1, :-1]


def _head(keypoints: int) -> ConvBn:
    """Return a prediction layer, its batch norm at the spread that targets have: steps take long to get there."""
    head = ConvBn(_WIDTH, keypoints, activation=None)
    nn.init.constant_(head.bn.weight, _SPREAD * PEAK)  # type: ignore[arg-type]
    return head


class GlobalNet(nn.Module):
    """Section 3.2.1: climb from the smallest features to the largest; predict on every level.

    Args:
        channels: of the trunk's features, largest features first.
        keypoints: heatmaps to predict.
    """

    def __init__(self, channels: Sequence[int], *, keypoints: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(ConvBn(inputs, _WIDTH, 1) for inputs in channels)
        self.merges = nn.ModuleList(nn.Conv2d(_WIDTH, _WIDTH, 1) for _ in channels[:-1])
        self.mixes = nn.ModuleList(ConvBn(_WIDTH, _WIDTH, 1) for _ in channels)
        self.heads = nn.ModuleList(_head(keypoints) for _ in channels)

    def forward(self, features: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Features at strides 4, 8, 16, 32 -> the pyramid, and each level's heatmaps at stride 4, in that order."""
        pyramid = [self.laterals[-1](features[-1])]
        for x, lateral, merge in zip(features[-2::-1], self.laterals[-2::-1], self.merges[::-1], strict=True):
            pyramid.insert(0, lateral(x) + merge(enlarge(pyramid[0], 2)))
        levels = zip(pyramid, self.mixes, self.heads, strict=True)
        heatmaps = [enlarge(head(mix(x)), 2**level) for level, (x, mix, head) in enumerate(levels)]
        return pyramid, heatmaps


class RefineNet(nn.Module):
    """Section 3.2.2: more bottlenecks the smaller the features, then all of them side by side.

    Args:
        bottlenecks: so many on each level, the largest features first; only these levels are joined.
        keypoints: heatmaps to predict.
    """

    def __init__(self, bottlenecks: Sequence[int], *, keypoints: int) -> None:
        super().__init__()
        block = partial(Bottleneck, _WIDTH, _WIDTH, _WIDTH // 2)
        self.cascades = nn.ModuleList(nn.Sequential(*(block() for _ in range(count))) for count in bottlenecks)
        self.final = Bottleneck(_WIDTH * len(bottlenecks), _WIDTH, _WIDTH // 2)
        self.head = _head(keypoints)

    def forward(self, pyramid: Sequence[Tensor]) -> Tensor:
        """The pyramid, strides 4 to 32 -> heatmaps (N, K, H/4, W/4)."""
        joined = zip(pyramid, self.cascades, strict=False)
        x = torch.cat([enlarge(cascade(level), 2**index) for index, (level, cascade) in enumerate(joined)], dim=1)
        return self.head(self.final(x))


class CascadedPyramidNetwork(nn.Module):
    """A trunk, GlobalNet and RefineNet.

    Args:
        trunk: makes the trunk; its `channels` and features are as in `_resnet.ResNet`.
        refine: "cascade", or what Table 6 compares it with: "concat", "one", or "none" for GlobalNet alone.
        levels: so many levels from the largest features on go into RefineNet (Table 7).
        keypoints: heatmaps to predict.

    Raises:
        ValueError: no such way to refine.
    """

    def __init__(
        self,
        trunk: Callable[[], Any] = resnet50,
        *,
        refine: str = "cascade",
        levels: int = 4,
        keypoints: int = NUM_KEYPOINTS,
    ) -> None:
        super().__init__()
        if refine not in {"none", *REFINERS}:
            raise ValueError(f"refine must be none or one of {', '.join(REFINERS)}, got {refine!r}")
        self.trunk = trunk()
        self.global_net = GlobalNet(self.trunk.channels, keypoints=keypoints)
        self.refine_net = None if refine == "none" else RefineNet(REFINERS[refine][:levels], keypoints=keypoints)
        set_batch_norm(self, eps=TENSORFLOW_EPS)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) normalised crops -> (N, K, H/4, W/4) of strides 32, 16, 8, 4 and, last, of RefineNet."""
        pyramid, heatmaps = self.global_net(self.trunk(images))
        coarse_first = tuple(heatmaps[::-1])
        return coarse_first if self.refine_net is None else (*coarse_first, self.refine_net(pyramid))


# The answers reach 255 as their targets did. A cell lies at crop pixel 4j + 2, as in MSPN's code.
_CODEC = HeatmapCodec(heatmap_sigma=1.4, offset=2.0, peak=PEAK, subpixel="second_peak", blur=21)
# The Gaussians of `cv2.GaussianBlur` kernels 15, 11, 9, 7. The official code trains the largest features towards the
# widest and says that this was a mistake.
_SIGMAS = (2.6, 2.0, 1.7, 1.4, 1.4)
_SIGMAS_384 = (3.8, 2.9, 2.3, 1.7, 1.7)  # kernels 23, 17, 13, 9


def _specs(name: str, trunk: Callable[[], nn.Module], ap: float | None, ap_384: float | None) -> tuple[ModelSpec, ...]:
    small = ModelSpec(
        name=name,
        kind="refiner",
        build=partial(CascadedPyramidNetwork, trunk=trunk),
        input_hw=(256, 192),
        bgr=True,
        mean=(102.9801 / 255, 115.9465 / 255, 122.7717 / 255),
        std=(1.0, 1.0, 1.0),
        margin=(1.2, 1.3),
        border=(122.7717 / 255, 115.9465 / 255, 102.9801 / 255),
        codec=_CODEC,
        target_sigmas=_SIGMAS,
        source="CPN section 3.2; official TensorFlow code",
        reported_ap=ap,
        reported_on="COCO minival, FPN boxes of 55.3 person AP" if ap else "",
    )
    large = replace(
        small,
        name=f"{name}-384x288",
        input_hw=(384, 288),
        codec=replace(_CODEC, heatmap_sigma=1.7),
        target_sigmas=_SIGMAS_384,
        reported_ap=ap_384,
        reported_on="COCO minival" if ap_384 else "",
    )
    return small, large


SPECS = (
    *_specs("cpn-r50", resnet50, 0.694, 0.716),
    *_specs("cpn-r101", resnet101, None, None),
    *_specs("cpn-rx50", resnext50, None, None),
    *_specs("cpn-inception-resnet-v2", InceptionResNetV2, None, 0.727),
)
