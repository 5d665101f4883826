"""The losses of a proposal network with two stages: regions from anchors, then a closer look at the best of them.

Source: Ren et al., "Faster R-CNN", NIPS 2015, sections 3.1.2 and 3.1.3, with two changes that need no random draw and
no extra weights: the focal loss instead of sampled anchors, and generalized IoU instead of smooth L1 on shifts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from posecli.geometry.boxes import area, generalized_iou, intersection, pairwise_iou
from posecli.geometry.roi import shift_boxes
from posecli.networks.detposenet import RawProposals

_REGION_SURE, _REGION_NONE = 0.6, 0.3  # IoU with a person: from here on an anchor is that person; below, nobody
_SURE = 0.5  # the same for the second stage, where nothing lies between
_BEST_AT_LEAST = 0.1  # IoU from which the box that fits a person best is that person, whatever the others are
_UNKNOWN_SHARE = 0.5  # of a box in a crowd: it counts neither way
_FOCUS, _BALANCE = 2.0, 0.25  # Lin et al., "Focal Loss", ICCV 2017, section 5.1


@dataclass(frozen=True, slots=True)
class People:
    """Who is on a batch of pictures; G counts the boxes of the fullest one."""

    boxes: Tensor  # (N, G, 4) xyxy, input pixels
    valid: Tensor  # (N, G) bool: somebody to be found
    unknown: Tensor  # (N, G) bool: a crowd, or somebody cut off; finding it is no error
    complete: Tensor  # (N,) bool: nobody is left out, so what is not a box is nobody


def two_stage_loss(raw: RawProposals, people: People) -> dict[str, Tensor]:
    """Compare both stages with the truth.

    Args:
        raw: the network's answer, with `regions`.
        people: the truth.

    Returns:
        Scalars: `region_score` (focal loss a person) and `region_box` (1 - generalized IoU) of the anchors,
        `score` (cross-entropy a region) and `box` of the second stage.

    Raises:
        ValueError: the network has one stage.
    """
    if raw.regions is None:
        raise ValueError("a network without regions has one stage; see losses.detection_loss")
    anchors = raw.regions.anchors.expand(len(raw.boxes), -1, -1)
    moved = shift_boxes(anchors, raw.regions.shifts)
    person, label = match(anchors, people, sure=_REGION_SURE, none=_REGION_NONE)
    region_score = _focal(raw.regions.logits, label)
    region_box = _box_error(moved, people.boxes, person, label)
    person, label = match(raw.boxes.detach(), people, sure=_SURE, none=_SURE)
    known = label >= 0
    error = binary_cross_entropy_with_logits(raw.logits, label.clamp(min=0).float(), reduction="none")
    return {
        "region_score": region_score,
        "region_box": region_box,
        "score": (error * known).sum() / known.sum().clamp(min=1),
        "box": _box_error(raw.boxes, people.boxes, person, label),
    }


@torch.no_grad()
def match(boxes: Tensor, people: People, *, sure: float, none: float) -> tuple[Tensor, Tensor]:
    """Say which person each box should find, if any.

    Args:
        boxes: (N, A, 4) xyxy, input pixels.
        people: the truth.
        sure: IoU from which a box is that person. The best box of each person is, too, if it touches it noticeably.
        none: IoU below which a box is nobody; between, it counts neither way.

    Returns:
        (N, A) int64 index of the person, and (N, A) int64: 1 that person, 0 nobody, -1 not to be counted.
    """
    overlap = pairwise_iou(boxes, people.boxes) * people.valid[:, None]  # (N, A, G)
    best, person = overlap.max(dim=2)
    label = torch.where(best >= sure, 1, torch.where(best < none, 0, -1))
    top, row = overlap.max(dim=1)  # (N, G): the best box of each person
    picture, who = (people.valid & (top >= _BEST_AT_LEAST)).nonzero(as_tuple=True)
    label[picture, row[picture, who]] = 1
    person[picture, row[picture, who]] = who
    hidden = intersection(boxes, people.boxes) * people.unknown[:, None] / area(boxes)[..., None].clamp(min=1e-6)
    excused = (hidden.amax(dim=2) > _UNKNOWN_SHARE) | ~people.complete[:, None]
    return person, torch.where((label == 0) & excused, -1, label)


def _focal(logits: Tensor, label: Tensor) -> Tensor:
    """Return the focal loss of (N, A) logits, summed over what counts, a positive."""
    positive = (label == 1).float()
    error = binary_cross_entropy_with_logits(logits, positive, reduction="none")
    surprise = (logits.sigmoid() - positive).abs() ** _FOCUS
    balance = _BALANCE * positive + (1 - _BALANCE) * (1 - positive)
    return (balance * surprise * error * (label >= 0)).sum() / positive.sum().clamp(min=1)


def _box_error(boxes: Tensor, truth: Tensor, person: Tensor, label: Tensor) -> Tensor:
    """Return the mean of 1 - generalized IoU of (N, A, 4) boxes that are somebody with that (N, G, 4) person's box."""
    picture, row = (label == 1).nonzero(as_tuple=True)
    error = 1 - generalized_iou(boxes[picture, row], truth[picture, person[picture, row]])
    return error.sum() / max(len(error), 1)
