"""PoseFix: looks at a crop together with another network's pose, and says where the keypoints really are.

Source: Moon, Chang, Lee, "PoseFix: Model-agnostic General Human Pose Refinement Network", CVPR 2019; the official
TensorFlow code, `main/model.py` and `lib/nets/basemodel.py`. Its ResNet pads by hand where it halves (as PyTorch does,
not TensorFlow's right and bottom), has the stride in the 3x3 convolution, and its 4x4 transposed convolutions cut one
row on either side. Batch norms have the code's eps of 1e-9, as TensorFlow takes it today; older ones raised it to
1.001e-5 in their fused kernel, which moves the answers by some 2e-4 of themselves. The answer are logits: a softmax
over the cells, whose mean is the keypoint (section 3.4).

Weights, beside the official names (convolutions turned from HWIO to OIHW; `moving_*` are `bn.running_*`):

    resnet_v1_50/conv1                                     trunk.stem.conv, .bn
    resnet_v1_50/blockL/unit_U/bottleneck_v1/convC         trunk.stages.{L-1}.{U-1}.{reduce, filter, expand}.conv, .bn
    resnet_v1_50/blockL/unit_1/bottleneck_v1/shortcut      trunk.stages.{L-1}.0.shortcut.conv, .bn
    up1, up2, up3                                          deconvs.{0, 1, 2}.conv, .bn
    out                                                    head
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from posecli.geometry.heatmaps import HeatmapCodec
from posecli.networks._layers import TENSORFLOW_EPS, set_batch_norm
from posecli.networks._resnet import resnet50
from posecli.networks._spec import ModelSpec
from posecli.networks.simplebaseline import SimpleBaseline
from posecli.skeleton import NUM_KEYPOINTS

_PEAK = 255.0  # of the prior's Gaussians: as bright as the picture, which is not divided by 255 either
_SIGMA_AT_256, _SIGMA_AT_384 = 7.0, 9.0  # of the prior's Gaussians, crop pixels, by the height of the crop


class PoseFix(SimpleBaseline):
    """SimpleBaseline on 3 + K channels."""

    def __init__(
        self, trunk: Callable[..., Any] = resnet50, *, width: int = 256, keypoints: int = NUM_KEYPOINTS
    ) -> None:
        super().__init__(partial(trunk, inputs=3 + keypoints), width=width, keypoints=keypoints)
        set_batch_norm(self, eps=TENSORFLOW_EPS)

    @staticmethod
    def draw_prior(points: Tensor, visible: Tensor, *, crop_hw: tuple[int, int]) -> Tensor:
        """Draw the poses to refine as the network takes them.

        Args:
            points: (N, K, 2) x y in crop pixels.
            visible: (N, K) bool; the others are left out.
            crop_hw: height and width of the crops.

        Returns:
            (N, K, h, w) float in [0, 255], a Gaussian about every point. Its sigma is 7 pixels on crops of 256x192 and
            9 on 384x288, as in the official configuration, and on one line with these elsewhere.
        """
        share = (crop_hw[0] - 256) / (384 - 256)
        sigma = max(1.0, _SIGMA_AT_256 + share * (_SIGMA_AT_384 - _SIGMA_AT_256))
        drawn = HeatmapCodec(stride=1, heatmap_sigma=sigma, offset=0.0).encode(points, heatmap_hw=crop_hw)
        return drawn * (_PEAK * visible[..., None, None])

    def forward(self, images: Tensor, prior: Tensor) -> tuple[Tensor]:  # type: ignore[override]
        """(N, 3, H, W) normalised crops and (N, K, H, W) of `draw_prior` -> logits (N, K, H/4, W/4)."""
        return super().forward(torch.cat((images, prior.to(images)), dim=1))


SPECS = (
    ModelSpec(
        name="posefix-r50",
        kind="refiner",
        build=PoseFix,
        input_hw=(256, 192),
        bgr=True,
        mean=(123.68 / 255, 116.78 / 255, 103.94 / 255),  # of red, green, blue, although blue comes first: as published
        std=(1 / 255, 1 / 255, 1 / 255),
        # a target is spread over the four cells about its point; at this sigma a map's score is its highest probability
        # and a mirrored crop's keypoints turn back where the official code puts them
        codec=HeatmapCodec(
            offset=0.0, activation="softmax", subpixel="soft_argmax", heatmap_sigma=0.4, flip_shift=0.75
        ),
        takes_prior=True,
        source="Moon et al., CVPR 2019; official TensorFlow code",
    ),
)
