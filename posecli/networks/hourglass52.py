"""Hourglass-52: one hourglass of plain residual blocks, five halvings deep, wider towards the bottom.

Source: the trunk of Law and Deng, "CornerNet", ECCV 2018, section 4.1, after Newell et al.; mmpose trained it for
poses (`HourglassNet` with one stack) and publishes the weights. Its files also hold a block `inters` between stacks,
which one stack does not use: it is left out.

Weights, beside those of mmpose (blocks: convC, bnC, downsample.0, .1 -> {first, second}, shortcut (.conv, .bn)):

    backbone.stem.0; backbone.stem.1.0              stem.0; stem.1
    backbone.hourglass_modules.0.{up1, low1, low3}  hourglass.{skip, down, up}; low2... as inner...
    backbone.out_convs.0                            mix
    head.multi_final_layers.0                       head
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn
from torch.nn.functional import interpolate

from posecli.geometry.heatmaps import HeatmapCodec
from posecli.networks._layers import ConvBn, Residual, require_multiple
from posecli.networks._spec import IMAGENET_MEAN, IMAGENET_STD, ModelSpec
from posecli.skeleton import NUM_KEYPOINTS

_CHANNELS, _BLOCKS = (256, 256, 384, 384, 384, 512), (2, 2, 2, 2, 2, 4)  # per size, finest first


class Hourglass(nn.Module):
    """Halve, filter, climb back and add what stayed."""

    def __init__(self, channels: Sequence[int], blocks: Sequence[int]) -> None:
        super().__init__()
        (here, below, *_), (count, deepest, *_) = channels, blocks
        more = range(count - 1)
        self.skip = nn.Sequential(*(Residual(here) for _ in range(count)))
        self.down = nn.Sequential(Residual(here, below, stride=2), *(Residual(below) for _ in more))
        self.inner = (
            Hourglass(channels[1:], blocks[1:])
            if len(channels) > 2
            else nn.Sequential(*(Residual(below) for _ in range(deepest)))
        )
        self.up = nn.Sequential(*(Residual(below) for _ in more), Residual(below, here))

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> same
        """Pass down and up once."""
        return self.skip(x) + interpolate(self.up(self.inner(self.down(x))), scale_factor=2.0)


class Hourglass52(nn.Module):
    """Stem, one hourglass, head."""

    def __init__(
        self,
        channels: Sequence[int] = _CHANNELS,
        *,
        blocks: Sequence[int] = _BLOCKS,
        keypoints: int = NUM_KEYPOINTS,
    ) -> None:
        super().__init__()
        width = channels[0]
        self.stem = nn.Sequential(ConvBn(3, width // 2, 7, stride=2), Residual(width // 2, width, stride=2))
        self.hourglass = Hourglass(channels, blocks)
        self.mix = ConvBn(width, width)
        self.head = nn.Conv2d(width, keypoints, 1)
        self.multiple = 4 << (len(channels) - 1)

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """(N, 3, H, W) normalised crops, H and W multiples of 128 -> one (N, K, H/4, W/4)."""
        require_multiple(images, self.multiple, network="Hourglass-52")
        return (self.head(self.mix(self.hourglass(self.stem(images)))),)


def _spec(side: int, reported_ap: float) -> ModelSpec:
    return ModelSpec(
        name="hourglass-52" + (f"-{side}x{side}" if side > 256 else ""),
        kind="refiner",
        build=partial(Hourglass52),
        input_hw=(side, side),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        codec=HeatmapCodec(heatmap_sigma=3.0 if side > 256 else 2.0, offset=0.0, subpixel="quarter", flip_shift=1.0),
        source="Law and Deng, ECCV 2018; mmpose HourglassNet",
        license="Apache-2.0",
        reported_ap=reported_ap,
        reported_on="COCO val2017, boxes of a detector with person AP 56.4, flip test",
    )


SPECS = (_spec(256, 0.726), _spec(384, 0.746))
