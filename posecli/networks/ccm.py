"""CCM: a cascade of context mixers, each of which weighs channels and looks around at four dilations.

Source: Zhang, Chen, Tao, "Towards High Performance Human Keypoint Detection", IJCV 2021, section 3.2; sizes from its
section 6.1 and Tables 7 and 8. The code it announces was never published. Read from its figures, where it is silent:

- All mixers double the size, also on HRNet and on a dilated ResNet, whose heatmaps so have stride 2: only then do the
  GFLOPs of CCM R50 (45.4) and what HRNet gains by its one mixer (.24 and 1.2) come out, deconvolutions counted on
  their output grid. Their Gaussian is as wide in pixels as SimpleBaseline's (sigma 2 cells at stride 4).
- Both decoders are counted in the parameters of the ResNets (40.7M, 63.5M). MobileNet-v2 and ShuffleNet-v2 (the 1.5x
  one) meet theirs without the auxiliary decoder and without dilation. HRNet's auxiliary decoder is too small to tell;
  Table 2 has it, so ours has, after the third stage.
- Squeeze and excitation has biases and no batch norm, which one vector a sample cannot feed; as in its own paper.
- The rectifier follows the four dilated convolutions, not the deconvolution: the text parts the two.
- The auxiliary decoder runs only in training: its answer is of no use afterwards.
- Without HDC the deconvolution sees the features themselves, so that a mixer without SE is SimpleBaseline's plus the
  residual branch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate, relu

from posecli.geometry.heatmaps import HeatmapCodec
from posecli.networks._layers import ConvBn, DeconvBn
from posecli.networks._mobilenet import MobileNetV2
from posecli.networks._resnet import resnet50, resnet152, resnext50
from posecli.networks._shufflenet import ShuffleNetV2
from posecli.networks._spec import IMAGENET_MEAN, IMAGENET_STD, ModelSpec
from posecli.networks.hrnet import HRNetBody
from posecli.skeleton import NUM_KEYPOINTS

_DILATIONS = (1, 2, 3, 4)
_SQUEEZE = 4


class Excitation(nn.Module):
    """The SE branch: from all that is seen, a weight for every output channel."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, outputs // _SQUEEZE, 1)
        self.excite = nn.Conv2d(outputs // _SQUEEZE, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:  # (N, inputs, H, W) -> (N, outputs, 1, 1) in (0, 1)
        """Pool over the whole crop, then two layers."""
        return self.excite(relu(self.squeeze(adaptive_avg_pool2d(x, 1)))).sigmoid()


class HybridDilation(nn.Module):
    """The HDC branch before its deconvolution: four fields of view side by side."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        quarter = outputs // len(_DILATIONS)
        self.views = nn.ModuleList(ConvBn(inputs, quarter, dilation=dilation) for dilation in _DILATIONS)

    def forward(self, x: Tensor) -> Tensor:  # (N, inputs, H, W) -> (N, outputs, H, W)
        """Look at the same features four times."""
        return torch.cat([view(x) for view in self.views], dim=1)


class ContextMixer(nn.Module):
    """Eq. (1): what HDC finds, weighed by SE, added to the upsampled features.

    `up` doubles the size; else the deconvolution is a 3x3 convolution and the residual branch keeps its size.
    """

    def __init__(self, inputs: int, outputs: int, *, up: bool = True, se: bool = True, hdc: bool = True) -> None:
        super().__init__()
        self.up = up
        self.residual = ConvBn(inputs, outputs, 1, activation=None)
        self.se = Excitation(inputs, outputs) if se else None
        self.hdc = HybridDilation(inputs, outputs) if hdc else nn.Identity()
        grown = outputs if hdc else inputs
        self.grow = DeconvBn(grown, outputs, activation=None) if up else ConvBn(grown, outputs, activation=None)

    def forward(self, x: Tensor) -> Tensor:  # (N, inputs, H, W) -> (N, outputs, 2H, 2W), or H, W
        """Mix spatial and channel context into the features."""
        found = self.grow(self.hdc(x))
        if self.se is not None:
            found = found * self.se(x)
        kept = interpolate(x, scale_factor=2.0, mode="bilinear") if self.up else x
        return relu(found + self.residual(kept), inplace=True)


def decoder(inputs: int, widths: tuple[int, ...], *, keypoints: int, se: bool, hdc: bool) -> nn.Sequential:
    """Build a cascade of mixers and the prediction layer, section 3.2.2."""
    sizes = zip((inputs, *widths), widths, strict=False)
    mixers = [ContextMixer(before, after, se=se, hdc=hdc) for before, after in sizes]
    return nn.Sequential(*mixers, nn.Conv2d(widths[-1], keypoints, 1))


class HighResolutionTrunk(HRNetBody):
    """HRNet's finest features after its last two stages, those that a mixer and an auxiliary one decode."""

    def __init__(self, width: int = 32) -> None:
        super().__init__(width)
        self.channels = (width, width)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> twice (N, width, H/4, W/4)."""
        *_, penultimate, last = (features[0] for features in self.each_stage(images))
        return [penultimate, last]


class CascadedContextMixer(nn.Module):
    """A trunk, a decoder on its last features and, in training, one on those of the stage before.

    Args:
        trunk: makes the trunk; its `channels` and features are as in `_resnet.ResNet`.
        widths: C_k of the mixers; one mixer a figure.
        auxiliary: whether there is an auxiliary decoder (section 3.2.3).
        se: whether the mixers have their channel branch.
        hdc: whether they have their dilated convolutions.
        keypoints: heatmaps to predict.
    """

    def __init__(
        self,
        trunk: Callable[[], Any],
        *,
        widths: tuple[int, ...] = (256, 256, 256),
        auxiliary: bool = True,
        se: bool = True,
        hdc: bool = True,
        keypoints: int = NUM_KEYPOINTS,
    ) -> None:
        super().__init__()
        make = partial(decoder, widths=widths, keypoints=keypoints, se=se, hdc=hdc)
        self.trunk = trunk()
        *_, penultimate, last = self.trunk.channels
        self.decoder = make(last)
        self.auxiliary = make(penultimate) if auxiliary else None

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) normalised crops -> heatmaps (N, K, H/s, W/s); before them, in training, the auxiliary ones."""
        *_, penultimate, last = self.trunk(images)
        answer = self.decoder(last)
        if self.auxiliary is None or not self.training:
            return (answer,)
        return self.auxiliary(penultimate), answer


def _codec(*, stride: int, large: bool = False) -> HeatmapCodec:
    """Return SimpleBaseline's Gaussian with CCM's decoding (section 5): filter, parabola, sub-pixel shift.

    The filter's kernel is MSPN's, the paper names none. A shift of .8 cells is best at stride 4 (Tables 5 and 6), which
    is geometry (`flip_merge`): half a cell at stride 2.
    """
    return HeatmapCodec(
        stride=stride,
        heatmap_sigma=(3.0 if large else 2.0) * 4 / stride,
        offset=0.0,
        subpixel="parabola",
        blur=5,
        flip_shift=0.8 if stride == 4 else 0.5,
    )


_refiner = partial(
    ModelSpec,
    kind="refiner",
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    source="CCM section 3.2, Tables 7 and 8",
    reported_on="COCO minival, boxes of SimpleBaseline",
)

SPECS = (
    _refiner(
        name="ccm-r50",
        build=partial(CascadedContextMixer, trunk=partial(resnet50, dilated=1)),
        input_hw=(256, 192),
        codec=_codec(stride=2),
        reported_ap=0.743,
    ),
    _refiner(
        name="ccm-rx50",
        build=partial(CascadedContextMixer, trunk=partial(resnext50, dilated=1)),
        input_hw=(256, 192),
        codec=_codec(stride=2),
        reported_ap=0.745,
    ),
    _refiner(
        name="ccm-r152-384x288",
        build=partial(CascadedContextMixer, trunk=partial(resnet152, dilated=1), widths=(128, 96, 64)),
        input_hw=(384, 288),
        codec=_codec(stride=2, large=True),
        reported_ap=0.767,
    ),
    _refiner(
        name="ccm-hrnet-w32",
        build=partial(CascadedContextMixer, trunk=partial(HighResolutionTrunk, width=32), widths=(32,)),
        input_hw=(256, 192),
        codec=_codec(stride=2),
        reported_ap=0.767,
    ),
    _refiner(
        name="ccm-hrnet-w48-384x288",
        build=partial(CascadedContextMixer, trunk=partial(HighResolutionTrunk, width=48), widths=(48,)),
        input_hw=(384, 288),
        codec=_codec(stride=2, large=True),
        reported_ap=0.775,
    ),
    _refiner(
        name="ccm-mobilenetv2",
        build=partial(CascadedContextMixer, trunk=partial(MobileNetV2, whole=True), auxiliary=False),
        input_hw=(256, 192),
        codec=_codec(stride=4),
        reported_ap=0.684,
    ),
    _refiner(
        name="ccm-shufflenetv2",
        build=partial(CascadedContextMixer, trunk=ShuffleNetV2, auxiliary=False),
        input_hw=(256, 192),
        codec=_codec(stride=4),
        reported_ap=0.679,
    ),
)
