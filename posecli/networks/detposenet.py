"""DetPoseNet's proposal extraction sub-net: person boxes, coarse heatmaps and part affinity fields in one shot.

Source: Ke et al., "DetPoseNet: Improving Multi-Person Pose Estimation via Coarse-Pose Filtering", section III-A and
Fig. 2a. There is no public code. The heavy part that both branches share is a trunk's way down; the pose branch is a
light way up with two convolutions at its end; the person branch looks at features of both ways, side by side: Faster
R-CNN's two stages at full size; in the tiny network, one prediction a cell at strides 8, 16, 32, without anchors.

Where the paper is silent: the trunks, widths and anchors. "Without NMS" is taken at its word inside, too: a region goes
on to the second stage if no neighbouring cell's region of the same shape scores higher, which costs no loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from posecli.geometry.heatmaps import HeatmapCodec
from posecli.geometry.roi import anchors, shift_boxes
from posecli.networks._decoder import AsymmetricHourglass
from posecli.networks._layers import ConvBn
from posecli.networks._mobilenet import MobileNetV2
from posecli.networks._rcnn import BoxHead, RegionHead, pool
from posecli.networks._resnet import ResNet, resnet50
from posecli.networks._spec import IMAGENET_MEAN, IMAGENET_STD, ModelSpec
from posecli.skeleton import EDGES, NUM_KEYPOINTS

STRIDES = (8, 16, 32)  # of the person branch
_PRIOR = 0.01  # a cell's person probability before training; Lin et al., "Focal Loss", section 3.3
_SIZES = (3.0, 5.0, 8.0)  # of the anchors: square root of the area, in strides, so that the scales follow each other
_RATIOS = (1.0, 2.5)  # height / width: sitting and standing
SECOND_WEIGHTS = (10.0, 5.0)  # of the second stage's shifts, as in Faster R-CNN
_SURELY_NONE = -20.0  # logit of what is no candidate


@dataclass(frozen=True, slots=True)
class Regions:
    """What the first of two stages says of every anchor; A counts all strides' anchors, finest first."""

    anchors: Tensor  # (A, 4) xyxy, input pixels
    logits: Tensor  # (N, A) person logit
    shifts: Tensor  # (N, A, 4) see `geometry.roi.shift_boxes`


@dataclass(frozen=True, slots=True)
class RawProposals:
    """One forward pass. A counts the cells of all three strides, finest first, or the regions of the second stage."""

    logits: Tensor  # (N, A) person logit
    boxes: Tensor  # (N, A, 4) xyxy, input pixels (edges)
    heatmaps: Tensor  # (N, K, H/4, W/4)
    pafs: Tensor  # (N, 2 L, H/4, W/4)
    regions: Regions | None = None  # of a network with two stages, to train the first


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
        _expect_few(self.score)
        nn.init.constant_(self.reach.bias, 1.0)  # type: ignore[arg-type]

    def forward(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor, None]:
        """(N, C, H/s, W/s) for each of `STRIDES` -> (N, A) logits and (N, A, 4) boxes."""
        logits, reaches = [], []
        for level in levels:
            x = self.tower(level)
            logits.append(self.score(x).float().flatten(1))
            reaches.append(self.reach(x).float().clamp(-6, 6).exp().flatten(2).transpose(1, 2))
        height, width = (side * STRIDES[0] for side in levels[0].shape[-2:])
        centres, strides = cell_centres(height, width, device=levels[0].device)
        reach = torch.cat(reaches, dim=1) * strides[:, None]  # (N, A, 4)
        boxes = torch.cat((centres - reach[..., :2], centres + reach[..., 2:]), dim=-1)
        return torch.cat(logits, dim=1), boxes, None


class TwoStages(nn.Module):
    """The embedded Faster R-CNN: regions from anchors, then a closer look at the best `count` of them."""

    def __init__(self, width: int, *, count: int = 100, hidden: int = 1024) -> None:
        super().__init__()
        self.count = count
        self.rpn = RegionHead(width, len(_SIZES) * len(_RATIOS))
        _expect_few(self.rpn.score)
        self.head = BoxHead(width, classes=1, boxes=1, hidden=hidden)

    def forward(self, levels: Sequence[Tensor]) -> tuple[Tensor, Tensor, Regions]:
        """(N, C, H/s, W/s) for each of `STRIDES` -> (N, A) logits, (N, A, 4) boxes, and the first stage's regions."""
        logits, shifts, shapes, peaks = [], [], [], []
        for level, stride in zip(levels, STRIDES, strict=True):
            logit, shift = self.rpn(level)
            height, width = level.shape[-2:]
            sizes = [stride * size for size in _SIZES]
            shapes.append(anchors((height, width), stride=stride, sizes=sizes, ratios=_RATIOS, device=level.device))
            logits.append(logit)
            shifts.append(shift)
            peaks.append(_is_peak(logit, height, width))
        regions = Regions(torch.cat(shapes), torch.cat(logits, dim=1), torch.cat(shifts, dim=1))
        return *self._look_closer(levels, regions, torch.cat(peaks, dim=1)), regions

    def _look_closer(self, levels: Sequence[Tensor], regions: Regions, peak: Tensor) -> tuple[Tensor, Tensor]:
        candidates = regions.logits.detach().masked_fill(~peak, _SURELY_NONE)
        scores, index = candidates.topk(min(self.count, candidates.shape[1]), dim=1)  # (N, R)
        shifts = regions.shifts.gather(1, index[..., None].expand(-1, -1, 4))
        boxes = shift_boxes(regions.anchors[index], shifts.detach())  # (N, R, 4)
        pictures = torch.arange(len(boxes), device=boxes.device).repeat_interleave(boxes.shape[1])
        pooled = pool([level.float() for level in levels], boxes.flatten(0, 1), pictures, first_stride=STRIDES[0])
        logits, changes = self.head(pooled)
        refined = shift_boxes(boxes, changes.view(boxes.shape), weights=SECOND_WEIGHTS)
        return logits.view(scores.shape).masked_fill(scores <= _SURELY_NONE, _SURELY_NONE), refined


def _is_peak(logits: Tensor, height: int, width: int) -> Tensor:
    """Say which of (N, h w A) logits no neighbouring cell beats with the same anchor."""
    maps = logits.detach().view(len(logits), height, width, -1).permute(0, 3, 1, 2)
    return (maps >= max_pool2d(maps, 3, stride=1, padding=1)).permute(0, 2, 3, 1).flatten(1)


def _expect_few(score: nn.Conv2d) -> None:
    """Let a score start at the share of places where a person is, so that the many empty ones do not drown them."""
    nn.init.constant_(score.bias, -math.log(1 / _PRIOR - 1))  # type: ignore[arg-type]


class DetPoseNet(AsymmetricHourglass):
    """One trunk, one light way up, two branches.

    Args:
        trunk: the way down.
        person: makes the person branch, for features of so many channels.
        widths: channels on the way up at strides 4, 8 and 16.
        head: channels of the person branch.
        keypoints: coarse heatmaps.
        limbs: part affinity fields, of two channels each.
    """

    def __init__(
        self,
        trunk: Callable[[], MobileNetV2 | ResNet] = MobileNetV2,
        person: Callable[[int], nn.Module] = PersonHead,
        *,
        widths: tuple[int, int, int] = (32, 48, 64),
        head: int = 48,
        keypoints: int = NUM_KEYPOINTS,
        limbs: int = len(EDGES),
    ) -> None:
        down = trunk()
        super().__init__(down, down.channels, widths)
        width4, width8, width16 = widths
        _, skip8, skip16, bottom = down.channels
        # down-sampling and up-sampling features of the same stride, side by side
        self.fuse = nn.ModuleList(ConvBn(channels, head, 1) for channels in (skip8 + width8, skip16 + width16, bottom))
        self.person = person(head)
        self.keypoint_tail = nn.Sequential(ConvBn(width4, width4), nn.Conv2d(width4, keypoints, 1))
        self.paf_tail = nn.Sequential(ConvBn(width4, width4), nn.Conv2d(width4, 2 * limbs, 1))

    def forward(self, images: Tensor) -> RawProposals:
        """(N, 3, H, W) normalised pictures, H and W multiples of 32 -> `RawProposals`."""
        down, up = self.scales(images)
        both = (torch.cat((down.at8, up.at8), dim=1), torch.cat((down.at16, up.at16), dim=1), down.at32)
        logits, boxes, regions = self.person([fuse(level) for fuse, level in zip(self.fuse, both, strict=True)])
        return RawProposals(logits, boxes, self.keypoint_tail(up.at4), self.paf_tail(up.at4), regions)


SPECS = (
    ModelSpec(
        name="detposenet-tiny",
        kind="proposer",
        build=partial(DetPoseNet),
        input_hw=(416, 416),
        codec=HeatmapCodec(stride=4, heatmap_sigma=1.5),
        source="DetPoseNet III-A",
    ),
    ModelSpec(
        name="detposenet-base",
        kind="proposer",
        build=partial(DetPoseNet, resnet50, TwoStages, widths=(128, 192, 256), head=256),
        input_hw=(512, 512),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        codec=HeatmapCodec(stride=4, heatmap_sigma=1.5),
        source="DetPoseNet III-A, Fig. 2a",
    ),
)
