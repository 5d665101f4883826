"""Faster R-CNN with a feature pyramid: a detector of COCO's 90 kinds of things, of which people are handed on.

Source: Ren et al., "Faster R-CNN", NIPS 2015, and Lin et al., "Feature Pyramid Networks", CVPR 2017, with the numbers
and in the order of torchvision's `fasterrcnn_resnet50_fpn`, so that its COCO_V1 weights find the same boxes. Its
preprocessing is part of the network: pictures of any size come in, boxes in their pixels go out.

Weights, beside torchvision's names:

    backbone.body.*                            trunk.*, see `_resnet`
    backbone.fpn.inner_blocks.I.0.*            fpn.lateral.I.*
    backbone.fpn.layer_blocks.I.0.*            fpn.output.I.*
    rpn.head.{conv.0.0, cls_logits, bbox_pred} rpn.{conv, score, shift}
    roi_heads.box_head.{fc6, fc7}              head.{fc6, fc7}
    roi_heads.box_predictor.{cls_score, bbox_pred}  head.{score, shift}
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from posecli.geometry.boxes import clip, grouped_nms
from posecli.geometry.roi import anchors, shift_boxes
from posecli.networks._layers import freeze_batch_norm
from posecli.networks._rcnn import BoxHead, FeaturePyramid, RegionHead, pool
from posecli.networks._resnet import ResNet, resnet50
from posecli.networks._spec import IMAGENET_MEAN, IMAGENET_STD, ModelSpec

_SHORT, _LONG, _GRID = 800, 1333, 32  # pixels: the input's sides, at least and at most, and what they are padded to
_STRIDES = (4, 8, 16, 32, 64)
_SIZES = (32.0, 64.0, 128.0, 256.0, 512.0)  # of the anchors of each stride
_RATIOS = (0.5, 1.0, 2.0)
_CLASSES, _PERSON = 91, 1  # COCO's numbers; 0 is the background
_REGIONS = 1000  # of each level before NMS, and of all after
_REGION_IOU, _BOX_IOU = 0.7, 0.5  # of NMS
_MIN_SCORE, _MAX_BOXES = 0.05, 100
_MIN_REGION, _MIN_BOX = 1e-3, 1e-2  # pixels; thinner ones are dropped
_SHIFT_WEIGHTS = (10.0, 5.0)  # of the box head's shifts


class FasterRCNN(nn.Module):
    """Trunk, pyramid, region proposals, box head."""

    def __init__(self, trunk: Callable[[], ResNet] = resnet50) -> None:
        super().__init__()
        # torchvision sets its frozen norms' eps to 0 for the COCO_V1 weights
        self.trunk = trunk()
        freeze_batch_norm(self.trunk, eps=0.0)
        self.fpn = FeaturePyramid(self.trunk.channels)
        self.rpn = RegionHead(256, len(_RATIOS))
        self.head = BoxHead(256, classes=_CLASSES, boxes=_CLASSES)

    def forward(self, images: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Find people.

        Args:
            images: (3, H, W) uint8 RGB each, of any size.

        Returns:
            For each picture (P, 4) boxes, xyxy in its pixels, and (P,) scores, best first.
        """
        if not len(images):
            return []
        inputs, sizes_hw = _prepare([image.float() / 255 for image in images])
        levels = [level.float() for level in self.fpn(self.trunk(inputs))]
        regions = self._regions(levels, sizes_hw)
        counts = [len(boxes) for boxes in regions]
        pictures = torch.arange(len(regions), device=inputs.device).repeat_interleave(
            torch.tensor(counts, device=inputs.device)
        )
        logits, shifts = self.head(pool(levels[:-1], torch.cat(regions), pictures, first_stride=_STRIDES[0]))
        found = []
        parts = zip(images, sizes_hw, regions, logits.split(counts), shifts.split(counts), strict=True)
        for image, size_hw, boxes, logit, shift in parts:
            people, scores = _people(boxes, logit, shift, size_hw)
            scale = people.new_tensor((image.shape[2] / size_hw[1], image.shape[1] / size_hw[0])).repeat(2)
            found.append((people * scale, scores))
        return found

    def busiest(self, inputs: Tensor) -> None:
        """Run all layers as a picture full of things does: (N, 3, h, w) inputs, as many regions as are ever looked at.

        For counting; the pictures' content decides what `forward` costs.
        """
        for level in self.fpn(self.trunk(inputs)):
            self.rpn(level)
        self.head(inputs.new_empty(len(inputs) * _REGIONS, 256, 7, 7))

    def _regions(self, levels: list[Tensor], sizes_hw: list[tuple[int, int]]) -> list[Tensor]:
        """Return each picture's (R, 4) regions worth a look, input pixels, best first."""
        logits, boxes, level_of = [], [], []
        for number, (features, stride, size) in enumerate(zip(levels, _STRIDES, _SIZES, strict=True)):
            logit, shift = self.rpn(features)
            best, index = logit.topk(min(_REGIONS, logit.shape[1]), dim=1)
            map_hw = (features.shape[-2], features.shape[-1])
            start = anchors(map_hw, stride=stride, sizes=(size,), ratios=_RATIOS, device=features.device)
            logits.append(best)
            boxes.append(shift_boxes(start[index], shift.gather(1, index[..., None].expand(-1, -1, 4))))
            level_of.append(torch.full_like(index, number))
        scores, levels_of = torch.cat(logits, dim=1).sigmoid(), torch.cat(level_of, dim=1)
        parts = zip(torch.cat(boxes, dim=1), scores, levels_of, sizes_hw, strict=True)
        return [_suppress(*part, max_iou=_REGION_IOU, min_side=_MIN_REGION)[0][:_REGIONS] for part in parts]


def _prepare(images: Sequence[Tensor]) -> tuple[Tensor, list[tuple[int, int]]]:
    """Normalise, resize, and pad to one (N, 3, h, w); also return each picture's height and width in it."""
    mean, std = (images[0].new_tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    resized = []
    for image in images:
        sides = image.shape[-2:]
        factor = min(_SHORT / min(sides), _LONG / max(sides))
        size_hw = [max(1, int(side * factor)) for side in sides]
        resized.append(interpolate(((image - mean) / std)[None], size_hw, mode="bilinear")[0])
    sizes_hw = [(image.shape[1], image.shape[2]) for image in resized]
    height, width = (-(-max(sides) // _GRID) * _GRID for sides in zip(*sizes_hw, strict=True))
    padded = [pad(image, (0, width - image.shape[2], 0, height - image.shape[1])) for image in resized]
    return torch.stack(padded).contiguous(memory_format=torch.channels_last), sizes_hw


def _people(boxes: Tensor, logits: Tensor, shifts: Tensor, size_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Judge (R, 4) regions of one picture: people's (P, 4) boxes and (P,) scores among the best things of any kind."""
    scores = logits.softmax(dim=1)
    region, kind = (scores[:, 1:] > _MIN_SCORE).nonzero(as_tuple=True)
    kind = kind + 1
    things = shift_boxes(boxes[region], shifts[region, kind], weights=_SHIFT_WEIGHTS)
    kept, kept_scores, kinds = _suppress(
        things, scores[region, kind], kind, size_hw, max_iou=_BOX_IOU, min_side=_MIN_BOX
    )
    people = kinds[:_MAX_BOXES] == _PERSON
    return kept[:_MAX_BOXES][people], kept_scores[:_MAX_BOXES][people]


def _suppress(
    boxes: Tensor, scores: Tensor, groups: Tensor, size_hw: tuple[int, int], *, max_iou: float, min_side: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Cut boxes at the picture's edges, drop thin ones, and do NMS in each group: boxes, scores, groups, best first."""
    boxes = clip(boxes, width=size_hw[1], height=size_hw[0])
    thick = ((boxes[:, 2:] - boxes[:, :2]) >= min_side).all(dim=1)
    boxes, scores, groups = boxes[thick], scores[thick], groups[thick]
    kept = grouped_nms(boxes, scores, groups, max_iou=max_iou)
    return boxes[kept], scores[kept], groups[kept]


SPECS = (
    ModelSpec(
        name="fasterrcnn-r50-fpn",
        kind="detector",
        build=partial(FasterRCNN),
        input_hw=(800, 800),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        source="Faster R-CNN, FPN; torchvision fasterrcnn_resnet50_fpn",
        license="BSD-3-Clause",
    ),
)
