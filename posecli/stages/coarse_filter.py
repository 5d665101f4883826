"""Keep the proposals that are likely people: one refiner run a person instead of one a box.

A proposal stays if a coarse pose of its own supports it. Two boxes with one pose are one person; two poses in one box
are two. Connected keypoints that no box explains are a person that the detector missed.

Source: DetPoseNet section III-B and Algorithm 1; Fig. 9 for boxes of other detectors. Where the paper is silent:
which pose belongs to which box (`_poses_in_boxes`), and what happens when the coarse heatmaps are poor. Then the box
decides as in usual detectors: a confident one needs no keypoints, and boxes without enough common keypoints are
compared by IoU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from posecli.config import FilterConfig
from posecli.geometry.boxes import (
    area,
    around_points,
    clip,
    hard_nms,
    intersection,
    pairwise_iou,
    soft_decay,
    soft_nms,
)
from posecli.geometry.constants import constant
from posecli.geometry.oks import keypoint_similarity
from posecli.geometry.paf import group_people
from posecli.records import Candidates, CoarsePeaks, Proposals, Rejection
from posecli.skeleton import EDGES, NUM_KEYPOINTS, OKS_SIGMAS

_MIN_SHARED = 3  # common keypoints from which two poses can be compared
_MIN_COVERAGE = 0.7  # of a pose's score inside a box, for the pose to lie in it
_MIN_FIT = 0.1  # coverage x IoU of a pose's own box, for the pose to be the box's person
_MIN_CONTAINED = 0.8  # of a box's area in another one, for it to show a part of that one's person
_MIN_TWIN_IOU = 0.6  # below, a sure box with another one's pose borrowed it from its neighbour
_GHOST_RATIO = 1.25  # of summed scores, for the weaker of two nested people to be an echo
_BOX_SLACK = 0.05  # keypoints count as inside a little beyond the box's edges, as a fraction of its size
# From keypoints to a person's box, in units of the square root of the keypoints' extent: left, top, right, bottom.
# Medians over COCO's people with six and more labelled keypoints (IoU with the labelled box .75 on average).
_BODY_MARGINS = (-0.1, -0.2, 0.1, 0.13)


@dataclass(frozen=True, slots=True)
class _CoarsePoses:
    """Poses in image pixels; a score of 0 means that the keypoint was not found."""

    keypoints: Tensor  # (N, K, 2)
    scores: Tensor  # (N, K)

    def __getitem__(self, index: Tensor) -> _CoarsePoses:
        return _CoarsePoses(self.keypoints[index], self.scores[index])

    @property
    def num_found(self) -> Tensor:  # (N,)
        return (self.scores > 0).sum(dim=1)


@dataclass(frozen=True, slots=True)
class _Evidence:
    """What the bottom-up maps of a frame show."""

    people: _CoarsePoses  # grouped by the part affinity fields
    free_peaks: Tensor  # (K, P, 2) image pixels
    free_scores: Tensor  # (K, P); 0 where there is no peak or a person of `people` has it


def filter_proposals(proposals: Proposals, config: FilterConfig, *, image_wh: tuple[int, int]) -> Candidates:
    """Return the likely people of a frame, best box score first, and why the other proposals are none.

    Args:
        proposals: the frame's boxes and coarse keypoints.
        config: thresholds.
        image_wh: width and height of the frame in pixels; recovered boxes end there.

    Raises:
        ValueError: the proposals come without coarse keypoints.

    Source: DetPoseNet Algorithm 1.
    """
    if proposals.coarse is None:
        raise ValueError("the filter needs coarse keypoints; without them `suppress_boxes` is left")
    order = proposals.box_scores.argsort(descending=True, stable=True)
    boxes, box_scores = proposals.boxes[order].float(), proposals.box_scores[order].float()
    evidence = _extract(proposals.coarse, config)
    poses = _poses_in_boxes(boxes, evidence)
    accepted = _accept(boxes, box_scores, poses, config)
    accepted = _move_second_boxes(accepted, config, image_wh)
    accepted = _recover(accepted, evidence.people, config, image_wh)
    return _best(accepted, config.max_people)


def suppress_boxes(proposals: Proposals, config: FilterConfig) -> Candidates:
    """Return what box NMS leaves, without coarse poses: the usual way, to compare with."""
    boxes, box_scores = proposals.boxes.float(), proposals.box_scores.float()
    scores = box_scores
    if config.box_nms == "hard":
        kept = hard_nms(boxes, box_scores, max_iou=config.max_box_iou)
    else:
        scores = soft_nms(boxes, box_scores, kind=config.box_nms, max_iou=config.max_box_iou, sigma=config.nms_sigma)
        kept = ((scores >= config.min_soft_score) | (scores == box_scores)).nonzero().squeeze(1)
    dropped = sorted(set(range(len(boxes))) - set(kept.tolist()))
    rejections = tuple(_reject(boxes, box_scores, dict.fromkeys(dropped, "box_overlap"), [None] * len(boxes)))
    unseen = torch.zeros(len(kept), NUM_KEYPOINTS, 2)
    origins = ("proposal",) * len(kept)
    candidates = Candidates(boxes[kept], scores[kept], unseen, unseen[..., 0], origins, rejections)
    return _best(candidates, config.max_people)


def keypoints_to_boxes(keypoints: Tensor, found: Tensor, *, image_wh: tuple[int, int]) -> Tensor:
    """Return the (N, 4) person boxes, xyxy, around (N, K, 2) keypoints of which (N, K) `found` count.

    The tight box is grown to where bodies end: above the eyes, beyond wrists and ankles (`_BODY_MARGINS`).
    """
    tight = around_points(keypoints, found) + 0.5  # pixel centres to edges
    scale = area(tight).clamp(min=1).sqrt()
    grown = tight + scale[:, None] * constant(_BODY_MARGINS, like=tight)
    return clip(grown, width=image_wh[0], height=image_wh[1])


def _extract(coarse: CoarsePeaks, config: FilterConfig) -> _Evidence:
    peaks = coarse.peaks
    peak_scores = torch.where(coarse.scores >= config.min_coarse_score, coarse.scores, 0.0)
    keypoints, scores = group_people(peaks, peak_scores, coarse.limbs, edges=EDGES)
    people = _CoarsePoses(keypoints, scores)
    people = people[people.num_found >= max(config.min_coarse_keypoints, _MIN_SHARED)]
    people = people[~_ghosts(people)]
    taken = (people.keypoints[:, :, None] == peaks).all(dim=-1) & (people.scores > 0)[:, :, None]  # (N, K, P)
    scale, offset = coarse.map_scale, (coarse.map_scale - 1) / 2
    in_pixels = replace(people, keypoints=people.keypoints * scale + offset)
    return _Evidence(in_pixels, peaks * scale + offset, peak_scores * ~taken.any(dim=0))


def _ghosts(people: _CoarsePoses) -> Tensor:
    """Say which (N,) people are a weaker echo inside a stronger one: what mixed-up limbs and double peaks leave.

    Their peaks become free again, so that a real person in front of another still has them for its own box.
    """
    own = keypoints_to_boxes(people.keypoints, people.scores > 0, image_wh=(1 << 30, 1 << 30))
    total = people.scores.sum(dim=1)
    weaker = total[:, None] > _GHOST_RATIO * total  # (stronger, weaker)
    return (weaker & (_coverage(own, people) > _MIN_CONTAINED)).any(dim=0)


def _inside(points: Tensor, boxes: Tensor) -> Tensor:
    """Say which of (..., 2) points lie in, or hardly outside, which of (P, 4) boxes: (P, ...) bool."""
    slack = _BOX_SLACK * (boxes[:, 2:] - boxes[:, :2])
    edges = torch.cat((boxes[:, :2] - slack, boxes[:, 2:] + slack), dim=1)
    left, top, right, bottom = edges.view(-1, 4, *(1,) * (points.ndim - 1)).unbind(1)
    x, y = (points + 0.5).unbind(-1)
    return (x >= left) & (x <= right) & (y >= top) & (y <= bottom)


def _coverage(boxes: Tensor, people: _CoarsePoses) -> Tensor:
    """Return which share of each person's score lies in each box: (P, N) in [0, 1]."""
    inside = _inside(people.keypoints, boxes) * people.scores  # (P, N, K)
    return inside.sum(dim=-1) / people.scores.sum(dim=-1).clamp(min=1e-6)


def _poses_in_boxes(boxes: Tensor, evidence: _Evidence) -> _CoarsePoses:
    """Give each box its coarse pose: the grouped person that fits it best, completed by free peaks inside.

    A person fits as far as it lies in the box and fills it. In a crowd, a half-seen person fits its own box less than
    the whole neighbour does; so the fit counts relative to the person's best box, and a person is no choice where it
    has a box that fits twice as well.
    """
    people = evidence.people
    own = keypoints_to_boxes(people.keypoints, people.scores > 0, image_wh=(1 << 30, 1 << 30))
    coverage = _coverage(boxes, people)
    fit = coverage * pairwise_iou(boxes, own)  # (P, N)
    best = fit.amax(dim=0) if len(boxes) else fit.new_zeros(len(own))
    suits = (coverage >= _MIN_COVERAGE) & (fit >= _MIN_FIT) & (fit >= best / 2)
    keypoints, scores = _free_peaks_in_boxes(boxes, evidence)
    if len(own):
        rank = torch.where(suits, fit.square() / best.clamp(min=1e-6), fit.new_tensor(-1.0))
        person = rank.argmax(dim=1)  # (P,)
        use = suits.any(dim=1)[:, None] & (people.scores[person] > 0)
        keypoints = torch.where(use[..., None], people.keypoints[person], keypoints)
        scores = torch.where(use, people.scores[person], scores)
    return _CoarsePoses(keypoints, scores)


def _free_peaks_in_boxes(boxes: Tensor, evidence: _Evidence) -> tuple[Tensor, Tensor]:
    """Return the best free peak of each keypoint in each box: (P, K, 2) and (P, K)."""
    num_keypoints, num_peaks = evidence.free_scores.shape
    if not num_peaks:
        return boxes.new_zeros(len(boxes), num_keypoints, 2), boxes.new_zeros(len(boxes), num_keypoints)
    scores, peak = (_inside(evidence.free_peaks, boxes) * evidence.free_scores).max(dim=-1)  # (P, K)
    keypoints = evidence.free_peaks[torch.arange(num_keypoints), peak]
    return keypoints * (scores > 0)[..., None], scores


def _accept(boxes: Tensor, box_scores: Tensor, poses: _CoarsePoses, config: FilterConfig) -> Candidates:
    """Go through the proposals, best first, and drop those without a pose and those whose pose is there already.

    Where only boxes can be compared and soft NMS is asked for, a box is not dropped but loses score, and its turn.
    """
    sure = box_scores >= config.confident_box_score
    enough = (poses.num_found >= config.min_coarse_keypoints) | sure
    supported = enough.nonzero().squeeze(1)
    twins, decay = _twins(boxes[supported], poses[supported], sure[supported], config)
    reasons = dict.fromkeys((~enough).nonzero().squeeze(1).tolist(), "too_few_keypoints")
    scores, index = box_scores[supported].clone(), supported.tolist()
    kept: list[int] = []  # positions in `supported`, as those in `left`
    left = list(range(len(index)))
    while left:
        position = left.pop(0)
        if any(twins[position][better] for better in kept):
            reasons[index[position]] = "same_pose"
        elif decay is not None and scores[position] < min(config.min_soft_score, float(box_scores[index[position]])):
            reasons[index[position]] = "box_overlap"
        else:
            kept.append(position)
            if decay is not None:
                scores[left] *= decay[left, position]
                left.sort(key=scores.tolist().__getitem__, reverse=True)
    rejections = _reject(boxes, box_scores, dict(sorted(reasons.items())), poses.num_found.tolist())
    chosen = torch.tensor(kept, dtype=torch.int64)
    likely, origins = poses[supported[chosen]], ("proposal",) * len(kept)
    return Candidates(
        boxes[supported[chosen]], scores[chosen], likely.keypoints, likely.scores, origins, tuple(rejections)
    )


def _similarity(boxes1: Tensor, poses1: _CoarsePoses, boxes2: Tensor, poses2: _CoarsePoses) -> tuple[Tensor, Tensor]:
    """Return (N, M, K) keypoint similarities, by the smaller box's area, and (N, M, K) 1 where both have it, else 0."""
    size = torch.minimum(area(boxes1)[:, None], area(boxes2)).clamp(min=1)
    sigmas = constant(OKS_SIGMAS, like=boxes1)
    similarity = keypoint_similarity(poses1.keypoints, poses2.keypoints, area=size, sigmas=sigmas)
    return similarity, (poses1.scores > 0).float()[:, None] * (poses2.scores > 0).float()


def _twins(
    boxes: Tensor, poses: _CoarsePoses, sure: Tensor, config: FilterConfig
) -> tuple[list[list[bool]], Tensor | None]:
    """Say which proposal (row) is the same person as which better one (column), and what soft NMS makes of its score.

    OKS over the common keypoints decides. Where there are too few of them, the boxes do: they overlap much, or the
    first lies in the other and shows nothing but a part of that one's pose. A `sure` box that hardly overlaps the other
    is a neighbour whose own keypoints were not found; what it has of that one's pose is borrowed.
    """
    similarity, shared = _similarity(boxes, poses, boxes, poses)
    num_shared = shared.sum(dim=-1)  # (P, P)
    oks = (similarity * shared).sum(dim=-1) / num_shared.clamp(min=1)
    iou = pairwise_iou(boxes, boxes)
    contained = intersection(boxes, boxes) > _MIN_CONTAINED * area(boxes)[:, None]
    comparable = num_shared >= _MIN_SHARED
    borrowed = sure[:, None] & (iou < _MIN_TWIN_IOU) & ~contained
    same_box = iou > config.max_box_iou
    same_pose = comparable & (oks > torch.where(same_box, config.other_pose_oks, config.same_pose_oks)) & ~borrowed
    only_part = torch.zeros_like(same_box)
    few = (poses.num_found < _MIN_SHARED).nonzero().squeeze(1)
    if len(few):
        foreign = (_inside(poses.keypoints, boxes[few]) & (poses.scores > 0)).sum(dim=-1)
        only_part[few] = contained[few] & (foreign >= _MIN_SHARED)
    if config.box_nms == "hard":
        return (same_pose | ((same_box | only_part) & ~comparable)).tolist(), None
    decay = soft_decay(iou, kind=config.box_nms, max_iou=config.max_box_iou, sigma=config.nms_sigma)
    return (same_pose | (only_part & ~comparable)).tolist(), torch.where(comparable, 1.0, decay)


def _move_second_boxes(accepted: Candidates, config: FilterConfig, image_wh: tuple[int, int]) -> Candidates:
    """Give the second of two people whose boxes are about the same a box around its own keypoints."""
    found = accepted.coarse_scores > 0
    again = (pairwise_iou(accepted.boxes, accepted.boxes) > config.same_box_iou).tril(-1).any(dim=1)
    again &= found.sum(dim=1) >= config.min_recovered_keypoints
    if not again.any():
        return accepted
    own = keypoints_to_boxes(accepted.coarse_keypoints, found, image_wh=image_wh)
    origins = ["second_in_box" if second else "proposal" for second in again.tolist()]
    return replace(accepted, boxes=torch.where(again[:, None], own, accepted.boxes), origins=tuple(origins))


def _recover(accepted: Candidates, people: _CoarsePoses, config: FilterConfig, image_wh: tuple[int, int]) -> Candidates:
    """Add the grouped people that no accepted candidate explains.

    A candidate explains a person if it has half of that person's keypoints, or if the person lies in its box without
    doubling at least three keypoints that the candidate has elsewhere: torn-off limbs are no second person.
    The box score follows from the mean coarse score over all keypoints: a half-seen person is half as sure.
    """
    strong = people.scores.mean(dim=1) >= config.min_recovered_score
    people = people[strong & (people.num_found >= config.min_recovered_keypoints)]
    if not len(people.scores):
        return accepted
    boxes = keypoints_to_boxes(people.keypoints, people.scores > 0, image_wh=image_wh)
    known = _CoarsePoses(accepted.coarse_keypoints, accepted.coarse_scores)
    similarity, shared = _similarity(accepted.boxes, known, boxes, people)
    alike = (shared * (similarity >= 0.5)).sum(dim=-1)  # (accepted, people)
    doubled = (shared * (similarity < 0.5)).sum(dim=-1)
    within = _coverage(accepted.boxes, people) >= _MIN_COVERAGE
    explained = (2 * alike >= people.num_found) | (within & (doubled < _MIN_SHARED))
    missed = ~explained.any(dim=0)
    origins = ["second_in_box" if inside else "bottom_up" for inside in within.any(dim=0)[missed].tolist()]
    return Candidates(
        torch.cat((accepted.boxes, boxes[missed])),
        torch.cat((accepted.box_scores, config.recovered_weight * people.scores.mean(dim=1)[missed])),
        torch.cat((accepted.coarse_keypoints, people.keypoints[missed])),
        torch.cat((accepted.coarse_scores, people.scores[missed])),
        accepted.origins + tuple(origins),
        accepted.rejections,
    )


def _best(candidates: Candidates, max_people: int) -> Candidates:
    """Sort by box score, and reject what is beyond `max_people`."""
    order = candidates.box_scores.argsort(descending=True, stable=True)
    kept, dropped = order[:max_people], order[max_people:].tolist()
    found = (candidates.coarse_scores > 0).sum(dim=1).tolist()
    surplus = _reject(candidates.boxes, candidates.box_scores, dict.fromkeys(dropped, "too_many"), found)
    return Candidates(
        candidates.boxes[kept],
        candidates.box_scores[kept],
        candidates.coarse_keypoints[kept],
        candidates.coarse_scores[kept],
        tuple(candidates.origins[index] for index in kept.tolist()),
        candidates.rejections + tuple(surplus),
    )


def _reject(
    boxes: Tensor, box_scores: Tensor, reasons: dict[int, str], num_found: Sequence[int | None]
) -> list[Rejection]:
    """Write down why; `reasons` by index, in its order."""
    rows, scores = boxes.tolist(), box_scores.tolist()
    return [Rejection(tuple(rows[index]), scores[index], why, num_found[index]) for index, why in reasons.items()]
