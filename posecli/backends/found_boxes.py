"""What other people's detectors answer, read as people's boxes: one picture at a time, in pixels of their input."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from posecli.errors import InputError

_YOLOX_STRIDES = (8, 16, 32)
_PERSON = 0  # COCO's first class
_MOST_BOXES = 300  # of a detector without NMS inside, best first; the filter does the rest
_SIDES = 4  # of a box

Found = tuple[Tensor, Tensor]  # (P, 4) xyxy, input pixels, and (P,) scores in [0, 1]


def read_rtmdet(answer: Sequence[Tensor]) -> Found:
    """Read (1, P, 5) boxes with scores and (1, P) classes, NMS inside. Source: mmdeploy's detection export."""
    dets, labels = answer
    people = dets[0][labels[0] == _PERSON].float()
    return people[:, :4], people[:, 4].clamp(0, 1)


def is_raw_rtmdet(shapes: Sequence[Sequence[object]]) -> bool:
    """Say whether outputs are an even number of maps, every second one (any order) with a box's four sides."""
    maps = [shape for shape in shapes if len(shape) == 4]
    sides = [shape for shape in maps if shape[1] == _SIDES]
    return bool(maps) and len(maps) == len(shapes) == 2 * len(sides)


def read_raw_rtmdet(answer: Sequence[Tensor], input_hw: tuple[int, int]) -> Found:
    """Read the heads' maps of each stride, no NMS inside: (1, C, h, w) class logits and (1, 4, h, w) distances.

    A cell stands for its top left pixel; the distances from there to the left, top, right and bottom edge are pixels.
    Maps that are never negative hold probabilities already: of logits, those of the background are.

    Args:
        answer: in any order; maps of one size belong together.
        input_hw: of the picture that went in.

    Source: RTMDet (Lyu et al., 2022); `RTMDetHead.forward` and `MlvlPointGenerator(offset=0)` of mmdetection.
    """
    sides = {tuple(item.shape[-2:]): item[0] for item in answer if item.shape[1] == _SIDES}
    boxes, scores = [], []
    for classes in (item[0] for item in answer if item.shape[1] != _SIDES):
        height, width = classes.shape[-2:]
        if (height, width) not in sides:
            raise InputError(f"an output of {height}x{width} classes without distances of that size")
        stride = input_hw[0] / height
        y, x = torch.meshgrid(torch.arange(height) * stride, torch.arange(width) * stride, indexing="ij")
        left, top, right, bottom = sides[height, width].float()
        boxes.append(torch.stack((x - left, y - top, x + right, y + bottom), dim=-1).view(-1, 4))
        scores.append(classes[_PERSON].flatten().float())
    logits = torch.cat(scores)
    return _best(torch.cat(boxes), logits.sigmoid() if (logits < 0).any() else logits)


def read_yolox(rows: Tensor, input_hw: tuple[int, int]) -> Found:
    """Read (P, 85) cells of strides 8, 16 and 32, no NMS inside. Source: YOLOX (Ge et al., 2021), `decode_outputs`."""
    cells: list[Tensor] = []
    strides: list[Tensor] = []
    for stride in _YOLOX_STRIDES:
        y, x = torch.meshgrid(torch.arange(input_hw[0] // stride), torch.arange(input_hw[1] // stride), indexing="ij")
        cells.append(torch.stack((x, y), dim=-1).view(-1, 2))
        strides.append(torch.full((x.numel(), 1), float(stride)))
    scale = torch.cat(strides)
    if len(rows) != len(scale):
        raise InputError(f"an output of {len(rows)} cells, wanted {len(scale)} for {input_hw[0]}x{input_hw[1]}")
    centre = (rows[:, :2] + torch.cat(cells)) * scale
    half = rows[:, 2:4].exp() * scale / 2
    return _best(torch.cat((centre - half, centre + half), dim=1).float(), (rows[:, 4] * rows[:, 5 + _PERSON]).float())


def _best(boxes: Tensor, scores: Tensor) -> Found:
    best, index = scores.clamp(0, 1).topk(min(_MOST_BOXES, len(scores)))
    return boxes[index], best
