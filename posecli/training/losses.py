"""The losses, one function each; every one is a mean over what is labelled, so that weights compare across batches."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax

from posecli.geometry.boxes import generalized_iou, pairwise_iou
from posecli.networks.detposenet import RawProposals
from posecli.skeleton import STRUCTURE_PAIRS, STRUCTURE_TRIPLETS

_PEAK_WEIGHT = 15.0  # a target cell of 1 weighs 16 times an empty one: without it all-zero heatmaps are a trap
_SHARPNESS = 10.0  # softmax temperature that makes a peak of 1 outweigh some thousand empty cells


def keypoint_errors(heatmaps: Tensor, target: Tensor) -> Tensor:
    """Return the (N, K) squared errors, mean over cells, peaks weighing more.

    Args:
        heatmaps: (N, K, h, w) predicted.
        target: (N, K, h, w) in [0, 1].
    """
    return ((1 + _PEAK_WEIGHT * target) * (heatmaps - target).square()).mean(dim=(-2, -1))


def structure_errors(errors: Tensor, weights: Tensor) -> Tensor:
    """Judge connected keypoints together: DetPoseNet Eq. (2), second term.

    The norm is taken over the heatmaps of a pair or triplet as one vector, so that the gradient of each depends on its
    neighbours' errors; a group counts as far as all of its keypoints are labelled.

    Args:
        errors: (N, K) squared errors of the single keypoints.
        weights: (N, K) in [0, 1].

    Returns:
        The mean norm over all labelled groups, a scalar.
    """
    total, count = errors.new_zeros(()), errors.new_zeros(())
    for groups in (STRUCTURE_PAIRS, STRUCTURE_TRIPLETS):
        index = torch.tensor(groups, device=errors.device)
        weight = weights[:, index].amin(dim=-1)  # (N, groups)
        norm = (errors[:, index].sum(dim=-1) + 1e-6).sqrt()
        total, count = total + (norm * weight).sum(), count + weight.sum()
    return total / count.clamp(min=1)


def location_errors(heatmaps: Tensor, target: Tensor) -> Tensor:
    """Return the (N, K) cross-entropies of where each keypoint is, whatever the height of its peak."""
    logits = log_softmax(_SHARPNESS * heatmaps.flatten(-2), dim=-1)
    place = target.flatten(-2)
    return -(place * logits).sum(-1) / place.sum(-1).clamp(min=1e-3)


def hardest(errors: Tensor, weights: Tensor, top: int) -> Tensor:
    """Mean of each person's `top` largest weighted errors: online hard keypoint mining. Source: CPN section 3.3."""
    return (errors * weights).topk(top, dim=1).values.sum() / weights.topk(top, dim=1).values.sum().clamp(min=1)


def heatmap_loss(
    heatmaps: Tensor, target: Tensor, weights: Tensor, *, structure: float, location: float, top: int = 0
) -> Tensor:
    """Compare one scale's heatmaps with their target.

    Args:
        heatmaps: (N, K, h, w) predicted, float32.
        target: (N, K, h, w); all zero where a keypoint is known to be absent.
        weights: (N, K) in [0, 1]; 0 = not labelled.
        structure: alpha_2 of the structure-aware loss.
        location: weight of the cross-entropy.
        top: only so many hardest keypoints of each person count in the squared error; 0 = all.

    Returns:
        A scalar.
    """
    errors = keypoint_errors(heatmaps, target)
    labelled = weights.sum().clamp(min=1)
    loss = hardest(errors, weights, top) if top else (errors * weights).sum() / labelled
    if structure:
        loss = loss + structure * structure_errors(errors, weights)
    if location:
        present = weights * (target.amax(dim=(-2, -1)) > 0.5)
        where = location_errors(heatmaps, target) * present
        loss = loss + location * where.sum() / present.sum().clamp(min=1)
    return loss


def teacher_loss(heatmaps: Tensor, taught: Tensor, sure: Tensor, *, location: float = 0.0) -> Tensor:
    """Compare heatmaps with a teacher's where it is sure.

    Args:
        heatmaps: (N, K, h, w) predicted, float32.
        taught: (N, K, h, w) the teacher's, in [0, 1].
        sure: (N, K) bool.
        location: weight of the cross-entropy of the places; keypoints count in it as far as the teacher sees them.

    Returns:
        A scalar, the mean over what is sure. Source: see `distill`.
    """
    loss = (keypoint_errors(heatmaps, taught) * sure).sum() / sure.sum().clamp(min=1)
    if location:
        seen = sure * taught.amax(dim=(-2, -1))
        loss = loss + location * (location_errors(heatmaps, taught) * seen).sum() / seen.sum().clamp(min=1)
    return loss


def place_loss(logits: Tensor, cells: Tensor, weights: Tensor) -> Tensor:
    """Compare a softmax over the cells with true places: its cross-entropy, and the distance of its mean.

    Args:
        logits: (N, K, h, w) predicted, float32.
        cells: (N, K, 2) x y in cells; outside the map counts as its nearest cell.
        weights: (N, K) in [0, 1]; 0 = not labelled.

    Returns:
        A scalar. Source: PoseFix section 3.4, equal shares; the truth is spread over the four cells around it.
    """
    height, width = logits.shape[-2:]
    last = cells.new_tensor((width - 1, height - 1))
    cells = cells.clamp(min=0).minimum(last)
    x = torch.arange(width, device=cells.device)
    y = torch.arange(height, device=cells.device)
    across = (1 - (x - cells[..., 0, None]).abs()).clamp(min=0)  # (N, K, w), at most two above 0
    down = (1 - (y - cells[..., 1, None]).abs()).clamp(min=0)
    target = down[..., :, None] * across[..., None, :]
    log_share = log_softmax(logits.flatten(-2), dim=-1).view(logits.shape)
    entropy = -(target * log_share).sum(dim=(-2, -1))  # (N, K)
    share = log_share.exp()
    mean = torch.stack(((share.sum(-2) * x).sum(-1), (share.sum(-1) * y).sum(-1)), dim=-1)
    distance = (mean - cells).abs().sum(-1)
    return ((entropy + distance) * weights).sum() / weights.sum().clamp(min=1)


def map_loss(maps: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Squared error of heatmaps or PAFs of whole pictures, cells with content weighing more.

    Args:
        maps: (N, C, h, w) predicted.
        target: (N, C, h, w) in [-1, 1].
        mask: (N, 1 or C, h, w) in [0, 1]; 0 where the labels do not say what is there.
    """
    weight = (1 + _PEAK_WEIGHT * target.abs()) * mask
    return (weight * (maps - target).square()).mean()


@torch.no_grad()
def assign_boxes(
    raw: RawProposals, truth: Tensor, valid: Tensor, centres: Tensor, strides: Tensor, *, top: int = 10
) -> tuple[Tensor, Tensor]:
    """Choose for every true box the cells that should find it.

    A cell may find a person if its centre lies in the box and within 2.5 strides of the box's centre; of those the
    `top` with the best score^.5 x IoU^4 do, and a cell wanted by several people takes the one it fits best.

    Args:
        raw: the network's answer.
        truth: (N, G, 4) xyxy, input pixels, padded.
        valid: (N, G) bool.
        centres: (A, 2) x y.
        strides: (A,).
        top: cells a person.

    Returns:
        (N, A) int64 index of the person each cell finds, and (N, A) its wanted score, 0 for none.

    Source: Feng et al., "TOOD: Task-aligned One-stage Object Detection", ICCV 2021, section 3.2; the centre prior as
    in Ge et al., "YOLOX", 2021.
    """
    overlap = torch.stack([pairwise_iou(t, b) for t, b in zip(truth, raw.boxes.float(), strict=True)])  # (N, G, A)
    middle = (truth[..., :2] + truth[..., 2:]) / 2
    near = ((centres - middle[:, :, None]).abs() < 2.5 * strides[:, None]).all(-1)
    inside = ((centres > truth[:, :, None, :2]) & (centres < truth[:, :, None, 2:])).all(-1)
    candidate = near & inside & valid[..., None]
    # a person smaller than a cell may contain no centre; its nearest cell shall find it all the same
    distance = (centres - middle[:, :, None]).norm(dim=-1) + strides
    nearest = torch.zeros_like(candidate).scatter_(2, distance.argmin(-1, keepdim=True), value=True)
    candidate = candidate | (nearest & valid[..., None])
    quality = raw.logits.sigmoid()[:, None].sqrt() * overlap.pow(4) + 1e-9
    quality = quality * candidate
    bar = quality.topk(top, dim=-1).values[..., -1:].clamp(min=1e-12)
    chosen = candidate & (quality >= bar)
    fit = torch.where(chosen, overlap + 1e-6, torch.zeros_like(overlap))
    best, person = fit.max(dim=1)  # (N, A)
    quality = torch.where(chosen, quality, torch.zeros_like(quality))
    share = quality / quality.amax(-1, keepdim=True).clamp(min=1e-12)
    wanted = (share * (overlap * chosen).amax(-1, keepdim=True)).gather(1, person[:, None]).squeeze(1)
    return person, torch.where(best > 0, wanted.clamp(min=0.05), torch.zeros_like(wanted))


def detection_loss(
    raw: RawProposals, truth: Tensor, valid: Tensor, ignore: Tensor, cells: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Compare person boxes and scores with the truth.

    Args:
        raw: the network's answer, A cells.
        truth: (N, G, 4) xyxy, input pixels, padded.
        valid: (N, G) bool.
        ignore: (N, A) bool, cells whose truth is unknown (crowds, pictures not fully labelled).
        cells: centres (A, 2) and strides (A,).

    Returns:
        The score loss (quality focal loss) and the box loss (1 - generalized IoU), scalars.

    Source: Li et al., "Generalized Focal Loss", NeurIPS 2020, Eq. (4).
    """
    person, wanted = assign_boxes(raw, truth, valid, *cells)
    positive = wanted > 0
    probability = raw.logits.sigmoid()
    error = binary_cross_entropy_with_logits(raw.logits, wanted, reduction="none")
    error = error * (probability - wanted).abs().square() * (positive | ~ignore)
    total = wanted.sum().clamp(min=1)
    rows = positive.nonzero(as_tuple=True)
    overlap = generalized_iou(raw.boxes[rows], truth[rows[0], person[rows]])
    return error.sum() / total, ((1 - overlap) * wanted[rows]).sum() / total
