"""SimpleBaseline: a trunk, a ResNet in its paper, and three transposed convolutions.

Source: Xiao et al., "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018, section 2; code
microsoft/human-pose-estimation.pytorch. That code shows the network BGR pictures with the mean and std of RGB, and its
weights expect that; mmpose's weights expect RGB. MobileNet-v2 and ShuffleNet-v2 (the 1.5x one, by its parameters) are
the trunks of CCM's small baselines (Table 7 there); nobody published their weights.

Weights, beside those of the public code (the trunk's are in `_resnet`):

    conv1 ... layer4                          trunk.*
    deconv_layers.{3 D}, deconv_layers.{3 D + 1}   deconvs.D.conv, .bn
    final_layer                               head
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn

from posecli.geometry.heatmaps import HeatmapCodec
from posecli.networks._layers import DeconvBn
from posecli.networks._mobilenet import MobileNetV2
from posecli.networks._resnet import ResNet, resnet50, resnet101, resnet152
from posecli.networks._shufflenet import ShuffleNetV2
from posecli.networks._spec import IMAGENET_MEAN, IMAGENET_STD, ModelSpec
from posecli.skeleton import NUM_KEYPOINTS


class SimpleBaseline(nn.Module):
    """Down to stride 32 and straight back to stride 4."""

    def __init__(
        self, trunk: Callable[[], Any] = resnet50, *, width: int = 256, keypoints: int = NUM_KEYPOINTS
    ) -> None:
        super().__init__()
        self.trunk = trunk()  # with `channels` and features as `_resnet.ResNet` has them
        self.deconvs = nn.Sequential(
            DeconvBn(self.trunk.channels[-1], width), DeconvBn(width, width), DeconvBn(width, width)
        )
        self.head = nn.Conv2d(width, keypoints, 1)

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """(N, 3, H, W) normalised crops, H and W multiples of 32 -> one (N, K, H/4, W/4)."""
        return (self.head(self.deconvs(self.trunk(images)[-1])),)


def _codec(*, large: bool = False) -> HeatmapCodec:
    return HeatmapCodec(stride=4, heatmap_sigma=3.0 if large else 2.0, offset=0.0, subpixel="quarter", flip_shift=1.0)


def _spec(depth: int, trunk: Callable[[], ResNet], input_hw: tuple[int, int], reported_ap: float) -> ModelSpec:
    large = input_hw == (384, 288)
    return ModelSpec(
        name=f"simplebaseline-r{depth}" + ("-384x288" if large else ""),
        kind="refiner",
        build=partial(SimpleBaseline, trunk=trunk),
        input_hw=input_hw,
        bgr=True,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        codec=_codec(large=large),
        source="Xiao et al., ECCV 2018; microsoft/human-pose-estimation.pytorch",
        license="MIT",
        reported_ap=reported_ap,
        reported_on="COCO val2017, boxes of a detector with person AP 56.4, flip test",
    )


def _small_spec(name: str, trunk: Callable[[], Any], reported_ap: float) -> ModelSpec:
    return ModelSpec(
        name=f"simplebaseline-{name}",
        kind="refiner",
        build=partial(SimpleBaseline, trunk=trunk),
        input_hw=(256, 192),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        codec=_codec(),
        source="Xiao et al., ECCV 2018, on the small trunks of CCM Table 7",
        reported_ap=reported_ap,
        reported_on="COCO minival, boxes of SimpleBaseline (CCM Table 7)",
    )


SPECS = (
    _spec(50, resnet50, (256, 192), 0.704),
    _spec(101, resnet101, (256, 192), 0.714),
    _spec(152, resnet152, (256, 192), 0.720),
    _spec(50, resnet50, (384, 288), 0.722),
    _spec(101, resnet101, (384, 288), 0.736),
    _spec(152, resnet152, (384, 288), 0.743),
    _small_spec("mobilenetv2", partial(MobileNetV2, whole=True), 0.643),
    _small_spec("shufflenetv2", ShuffleNetV2, 0.639),
)
