"""Stacked hourglass: repeated bottom-up, top-down passes with heatmaps after each.

Source: Newell et al., "Stacked Hourglass Networks for Human Pose Estimation", ECCV 2016; code
princeton-vl/pytorch_stacked_hourglass, whose blocks own a convolved shortcut even where they keep their width and add
the input as it is: 7.4M of the 32.8M weights of eight stacks are never used. They are kept, frozen, so that every key
of a public file has its place; the paper's own 25.1M leave them out.

Weights, beside those of the public code (`Block`s: bn1 -> norm; conv1.conv, bn2 -> reduce.conv, .bn; conv2.conv, bn3
-> filter.conv, .bn; conv3.conv -> expand; skip_layer.conv -> shortcut):

    pre.0; pre.1, pre.3, pre.4       stem.0; stem.1, stem.3, stem.4
    hgs.S.0.{up1, low1, low2, low3}  stacks.S.{skip, down, inner, up}, low2.low2... as inner.inner...
    features.S.0, features.S.1       mixes.S.0, mixes.S.1
    outs.S.conv                      heads.S
    merge_features.S.conv.conv       feature_merges.S
    merge_preds.S.conv.conv          heatmap_merges.S
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d, relu

from posecli.geometry.heatmaps import HeatmapCodec
from posecli.networks._layers import ConvBn, require_multiple
from posecli.networks._spec import ModelSpec
from posecli.skeleton import NUM_KEYPOINTS

_DEPTH = 4  # halvings inside an hourglass


class Block(nn.Module):
    """Bottleneck that normalises before it convolves (He et al., "Identity Mappings", ECCV 2016)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        width = outputs // 2
        self.norm = nn.BatchNorm2d(inputs)
        self.reduce = ConvBn(inputs, width, 1, bias=True)
        self.filter = ConvBn(width, width, bias=True)
        self.expand = nn.Conv2d(width, outputs, 1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1)
        self.keeps_width = inputs == outputs
        if self.keeps_width:
            self.shortcut.requires_grad_(False)  # never used: see above

    def forward(self, x: Tensor) -> Tensor:  # (N, inputs, H, W) -> (N, outputs, H, W)
        """Add what the three convolutions find."""
        found = self.expand(self.filter(self.reduce(relu(self.norm(x)))))
        return found + (x if self.keeps_width else self.shortcut(x))


class Hourglass(nn.Module):
    """Halve `depth` times, then climb back, adding the skip at every size."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.skip = Block(channels, channels)
        self.down = Block(channels, channels)
        self.inner = Hourglass(channels, depth - 1) if depth > 1 else Block(channels, channels)
        self.up = Block(channels, channels)

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W) -> same
        """Pass down and up once."""
        skip = self.skip(x)
        low = self.up(self.inner(self.down(max_pool2d(x, 2))))
        return skip + interpolate(low, size=skip.shape[-2:])  # odd sides, of 384x288 crops, come back whole


class StackedHourglass(nn.Module):
    """Hourglass after hourglass, each told what the one before saw and answered."""

    def __init__(self, stacks: int = 8, *, width: int = 256, keypoints: int = NUM_KEYPOINTS) -> None:
        super().__init__()
        half, quarter = width // 2, width // 4
        self.stem = nn.Sequential(
            ConvBn(3, quarter, 7, stride=2, bias=True),
            Block(quarter, half),
            nn.MaxPool2d(2),
            Block(half, half),
            Block(half, width),
        )
        self.stacks = nn.ModuleList(Hourglass(width, _DEPTH) for _ in range(stacks))
        self.mixes = nn.ModuleList(
            nn.Sequential(Block(width, width), ConvBn(width, width, 1, bias=True)) for _ in range(stacks)
        )
        self.heads = nn.ModuleList(nn.Conv2d(width, keypoints, 1) for _ in range(stacks))
        self.feature_merges = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(stacks - 1))
        self.heatmap_merges = nn.ModuleList(nn.Conv2d(keypoints, width, 1) for _ in range(stacks - 1))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) normalised crops, H and W multiples of 32 from 64 on -> one (N, K, H/4, W/4) per stack."""
        require_multiple(images, 32, network="hourglass", at_least=4 << _DEPTH)
        x, answers = self.stem(images), []
        for number, (stack, mix, head) in enumerate(zip(self.stacks, self.mixes, self.heads, strict=True)):
            features = mix(stack(x))
            answers.append(head(features))
            if number < len(self.stacks) - 1:
                x = x + self.heatmap_merges[number](answers[-1]) + self.feature_merges[number](features)
        return tuple(answers)


def _spec(stacks: int, input_hw: tuple[int, int]) -> ModelSpec:
    return ModelSpec(
        name=f"hourglass-{stacks}" + ("-384x288" if input_hw == (384, 288) else ""),
        kind="refiner",
        build=partial(StackedHourglass, stacks=stacks),
        input_hw=input_hw,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        codec=HeatmapCodec(stride=4, heatmap_sigma=1.0, subpixel="quarter"),
        source="Newell et al., ECCV 2016; princeton-vl/pytorch_stacked_hourglass",
        license="BSD-3-Clause",
    )


SPECS = (
    _spec(1, (256, 192)),
    _spec(2, (256, 192)),
    _spec(8, (256, 192)),
    _spec(8, (384, 288)),
)
