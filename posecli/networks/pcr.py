"""PCR: several context-aware decoders in parallel, each of which corrects the sum of those before it.

Source: Zhang, Chen, Tao, "Human Keypoint Detection by Progressive Context Refinement", arXiv:1910.12223, 2019, sections
2.1 and 2.2; widths from its section 3.1. There is no public code. Its context-aware module is CCM's context mixer.
Where it is silent:

- L is 2, the fewest levels at which anything is refined; its ablation has L = 1.
- The auxiliary task "after the penultimate CAM" (Table 3) is one prediction layer on what enters the first level's last
  module. On HRNet, with one module, that is the trunk's own features.
- The module keeps the size on HRNet ("a convolutional layer of stride 1"), whose features are as large as the heatmaps,
  and doubles it on the other trunks, three times from stride 32 to 4. Nothing is dilated.
- As in CCM, squeeze and excitation has biases and no batch norm, and the auxiliary layer runs only in training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from posecli.geometry.heatmaps import HeatmapCodec
from posecli.networks._resnet import resnet50, resnet152, resnext50
from posecli.networks._spec import IMAGENET_MEAN, IMAGENET_STD, ModelSpec
from posecli.networks.ccm import ContextMixer
from posecli.networks.hrnet import HRNetBody
from posecli.skeleton import NUM_KEYPOINTS


class ProgressiveContextRefinement(nn.Module):
    """A trunk and `levels` decoders of `len(widths)` modules each, on the same features.

    Args:
        trunk: makes the trunk; its `channels` and features are as in `_resnet.ResNet`.
        widths: C_k of the modules; one module a figure.
        levels: L.
        up: whether the modules double the size.
        auxiliary: whether there is an auxiliary task.
        keypoints: heatmaps to predict.
    """

    def __init__(
        self,
        trunk: Callable[[], Any],
        *,
        widths: tuple[int, ...] = (256, 256, 256),
        levels: int = 2,
        up: bool = True,
        auxiliary: bool = True,
        keypoints: int = NUM_KEYPOINTS,
    ) -> None:
        super().__init__()
        self.trunk = trunk()
        sizes = (self.trunk.channels[-1], *widths)
        modules = [[ContextMixer(*pair, up=up) for pair in zip(sizes, widths, strict=False)] for _ in range(levels)]
        self.early = nn.ModuleList(nn.Sequential(*level[:-1]) for level in modules)
        self.last = nn.ModuleList(level[-1] for level in modules)
        self.heads = nn.ModuleList(nn.Conv2d(widths[-1], keypoints, 1) for _ in range(levels))
        self.auxiliary = nn.Conv2d(sizes[-2], keypoints, 1) if auxiliary else None

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) normalised crops -> heatmaps (N, K, H/4, W/4), one a level, the last is the answer.

        In training the auxiliary ones come first, half as large if the modules double the size.
        """
        features = self.trunk(images)[-1]
        stages, total = [], None
        for early, last, head in zip(self.early, self.last, self.heads, strict=True):
            x = early(features)
            if total is None and self.auxiliary is not None and self.training:
                stages.append(self.auxiliary(x))
            total = last(x) if total is None else total + last(x)  # Eq. (2)
            stages.append(head(total))
        return tuple(stages)


_refiner = partial(ModelSpec, kind="refiner", mean=IMAGENET_MEAN, std=IMAGENET_STD, source="PCR sections 2 and 3.1")
_CODEC = HeatmapCodec(heatmap_sigma=2.0, offset=0.0, subpixel="quarter", flip_shift=1.0)  # SimpleBaseline's
_LARGE = replace(_CODEC, heatmap_sigma=3.0)

SPECS = (
    _refiner(
        name="pcr-r50",
        build=partial(ProgressiveContextRefinement, trunk=resnet50),
        input_hw=(256, 192),
        codec=_CODEC,
    ),
    _refiner(
        name="pcr-rx50",
        build=partial(ProgressiveContextRefinement, trunk=resnext50),
        input_hw=(256, 192),
        codec=_CODEC,
    ),
    _refiner(
        name="pcr-hrnet-w32",
        build=partial(ProgressiveContextRefinement, trunk=partial(HRNetBody, width=32), widths=(48,), up=False),
        input_hw=(256, 192),
        codec=_CODEC,
    ),
    _refiner(
        name="pcr-hrnet-w48-384x288",
        build=partial(ProgressiveContextRefinement, trunk=partial(HRNetBody, width=48), widths=(48,), up=False),
        input_hw=(384, 288),
        codec=_LARGE,
        reported_ap=0.779,
        reported_on="COCO test-dev, trained on AI Challenger too, L unknown",
    ),
    _refiner(
        name="pcr-r152-384x288",
        build=partial(ProgressiveContextRefinement, trunk=resnet152, widths=(128, 96, 64)),
        input_hw=(384, 288),
        codec=_LARGE,
        reported_ap=0.756,
        reported_on="COCO test-dev, L unknown",
    ),
)
