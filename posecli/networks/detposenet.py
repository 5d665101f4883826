"""DetPoseNet's proposal extraction sub-net: person boxes, coarse heatmaps and part affinity fields in one shot.

Source: Ke et al., "DetPoseNet: Improving Multi-Person Pose Estimation via Coarse-Pose Filtering", section III-A and
Fig. 2a. There is no public code. Where the paper is silent, or Faster R-CNN too heavy for a laptop: the shared heavy
head is a MobileNet-v2; the person branch is anchor-free (one prediction a cell at strides 8, 16, 32) on the
concatenated down- and up-sampling features that the paper fuses; the pose tails are two light convolutions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from posecli.geometry.heatmaps import HeatmapCodec
from posecli.networks._layers import ConvBn
from posecli.networks._mobilenet import MobileNetV2
from posecli.networks._spec import ModelSpec
from posecli.networks.prs import UpStep
from posecli.skeleton import EDGES

STRIDES = (8, 16, 32)  # of the person branch
_PRIOR = 0.01  # a cell's person probability before training; Lin et al., "Focal Loss", section 3.3


@dataclass(frozen=True, slots=True)
class RawProposals:
    """One forward pass, everything dense; A counts the cells of all three strides, finest first."""

    logits: Tensor  # (N, A) person logit
    boxes: Tensor  # (N, A, 4) xyxy, input pixels (edges)
    heatmaps: Tensor  # (N, K, H/4, W/4)
    pafs: Tensor  # (N, 2 L, H/4, W/4)


def cell_centres(height: int, width: int, *, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the (A, 2) x y centres, as edges coordinates in input pixels, and (A,) strides of all cells."""
    centres, strides = [], []
    for stride in STRIDES:
        rows, columns = height // stride, width // stride
        y, x = torch.meshgrid(torch.arange(rows, device=device), torch.arange(columns, device=device), indexing="ij")
        centres.append((torch.stack((x, y), dim=-1).reshape(-1, 2) + 0.5) * stride)
        strides.append(torch.full((rows * columns,), float(stride), device=device))
    return torch.cat(centres), torch.cat(strides)


class PersonHead(nn.Module):
    """Box and score of every cell, the same weights at every stride."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.tower = nn.Sequential(ConvBn(width, width), ConvBn(width, width))
        self.score = nn.Conv2d(width, 1, 1)
        self.reach = nn.Conv2d(width, 4, 1)  # log distance to the left, top, right, bottom edge, in strides
        nn.init.constant_(self.score.bias, -math.log(1 / _PRIOR - 1))  # type: ignore[arg-type]
        nn.init.constant_(self.reach.bias, 1.0)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, h, w) -> (N, h w) logits and (N, h w, 4) distances in strides."""
        x = self.tower(x)
        reach = self.reach(x).float().clamp(-6, 6).exp()
        return self.score(x).float().flatten(1), reach.flatten(2).transpose(1, 2)


class DetPoseNet(nn.Module):
    """One encoder, one asymmetric decoder, two branches."""

    def __init__(self, *, widths: tuple[int, int, int] = (32, 48, 64), head: int = 48, keypoints: int = 17) -> None:
        super().__init__()
        width4, width8, width16 = widths
        self.trunk = MobileNetV2()
        skip4, skip8, skip16, bottom = self.trunk.channels
        self.up16 = UpStep(bottom, skip16, width16)
        self.up8 = UpStep(width16, skip8, width8)
        self.up4 = UpStep(width8, skip4, width4)
        # person branch: down-sampling and up-sampling features of the same stride, side by side
        fused = (skip8 + width8, skip16 + width16, bottom)
        self.fuse = nn.ModuleList(ConvBn(channels, head, 1) for channels in fused)
        self.person = PersonHead(head)
        self.keypoint_tail = nn.Sequential(ConvBn(width4, width4), nn.Conv2d(width4, keypoints, 1))
        self.paf_tail = nn.Sequential(ConvBn(width4, width4), nn.Conv2d(width4, 2 * len(EDGES), 1))

    def forward(self, images: Tensor) -> RawProposals:
        """(N, 3, H, W) normalised pictures, H and W multiples of 32 -> `RawProposals`."""
        c4, c8, c16, c32 = self.trunk(images)
        x16 = self.up16(c32, c16)
        x8 = self.up8(x16, c8)
        x4 = self.up4(x8, c4)
        levels = (torch.cat((c8, x8), dim=1), torch.cat((c16, x16), dim=1), c32)
        parts = [self.person(fuse(level)) for fuse, level in zip(self.fuse, levels, strict=True)]
        logits = torch.cat([part[0] for part in parts], dim=1)
        reach = torch.cat([part[1] for part in parts], dim=1)  # (N, A, 4)
        centres, strides = cell_centres(*images.shape[-2:], device=images.device)
        reach = reach * strides[:, None]
        boxes = torch.cat((centres - reach[..., :2], centres + reach[..., 2:]), dim=-1)
        return RawProposals(logits, boxes, self.keypoint_tail(x4), self.paf_tail(x4))


SPECS = (
    ModelSpec(
        name="detposenet-tiny",
        kind="proposer",
        build=partial(DetPoseNet),
        input_hw=(416, 416),
        codec=HeatmapCodec(stride=4, heatmap_sigma=1.5),
        source="DetPoseNet III-A",
    ),
)
