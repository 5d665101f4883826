"""Part affinity fields: a unit vector along every limb, and the grouping of keypoints into people by them.

Points are in map cells: cell (x, y) is centred at (x, y). Limb l of `edges` owns channels 2 l (x) and 2 l + 1 (y).

Source: Cao et al., "OpenPose: Realtime Multi-Person 2D Pose Estimation using Part Affinity Fields", TPAMI 2021,
sections 3.3 (fields) and 3.4 (grouping).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from posecli.geometry.constants import indexes
from posecli.geometry.subpixel import log_parabola

Edges = tuple[tuple[int, int], ...]

# OpenPose's defaults (`poseParameters.cpp`): a sample agrees from .05 on, and most samples of a limb have to.
_MIN_SAMPLE = 0.05
_MIN_SHARE = 0.8


def encode(keypoints: Tensor, valid: Tensor, *, edges: Edges, map_hw: tuple[int, int], width: float = 1.0) -> Tensor:
    """Draw the part affinity fields of every picture's people.

    Where limbs of several people overlap, their vectors are averaged. A limb without length has no direction and is
    not drawn. The end caps are round, so that even the shortest limb marks a cell.

    Args:
        keypoints: (B, N, K, 2) float, x y in map cells; whatever stands at invalid keypoints is not looked at.
        valid: (B, N, K) bool, the keypoints that exist.
        edges: L pairs of keypoint indexes, first and second end.
        map_hw: height and width of the maps in cells.
        width: cells within this distance of the limb belong to it.

    Returns:
        (B, 2 L, h, w) float, vectors of length 0 to 1.

    Source: Cao et al., equations 8 and 9.
    """
    fields = keypoints.new_zeros(len(keypoints), len(edges), 2, *map_hw)
    x = torch.arange(map_hw[1], device=keypoints.device, dtype=keypoints.dtype)
    y = torch.arange(map_hw[0], device=keypoints.device, dtype=keypoints.dtype)
    for limb, (first, second) in enumerate(edges):
        picture, person = (valid[:, :, first] & valid[:, :, second]).nonzero(as_tuple=True)
        start, end = keypoints[picture, person, first], keypoints[picture, person, second]  # (M, 2)
        length = (end - start).norm(dim=-1)[:, None, None]  # (M, 1, 1)
        unit = (end - start)[:, :, None, None] / length[:, None].clamp(min=1e-6)  # (M, 2, 1, 1)
        from_x, from_y = x - start[:, 0, None, None], y[:, None] - start[:, 1, None, None]  # (M, 1, w), (M, h, 1)
        along = from_x * unit[:, 0] + from_y * unit[:, 1]  # (M, h, w)
        aside = from_x * unit[:, 1] - from_y * unit[:, 0]
        beyond = (along - along.clamp(min=0).minimum(length)).square() + aside.square()
        inside = ((beyond <= width**2) & (length > 1e-6)).to(keypoints.dtype)
        count = torch.zeros_like(fields[:, limb, 0]).index_add_(0, picture, inside)
        total = torch.zeros_like(fields[:, limb]).index_add_(0, picture, unit * inside[:, None])
        fields[:, limb] = total / count.clamp(min=1)[:, None]
    return fields.flatten(1, 2)


def find_peaks(heatmaps: Tensor, *, min_score: float, max_peaks: int = 20) -> tuple[Tensor, Tensor]:
    """Return the best local maxima (of 3 x 3 cells) of every heatmap, refined to fractions of a cell.

    Of neighbouring cells with equal values, as rounded networks make them, the first counts.

    Args:
        heatmaps: (..., K, h, w) float; NaN counts as 0.
        min_score: lower maxima are not peaks; a peak is above 0 in any case.
        max_peaks: per keypoint, at most.

    Returns:
        (..., K, P, 2) x y in cells and (..., K, P) scores in [0, 1], best first; a score of 0 fills up keypoints with
        fewer peaks. P is the largest number of peaks that a keypoint has; on a GPU, where counting them means waiting
        for them, it is `max_peaks`.
    """
    maps = torch.nan_to_num(heatmaps.contiguous().float(), nan=0.0, posinf=0.0, neginf=0.0)
    width = maps.shape[-1]
    lowest = max(min_score, torch.finfo(maps.dtype).tiny)
    tops = torch.where(maps >= _neighbourhood_max(maps).clamp(min=lowest), maps, 0.0).flatten(-2)
    scores, peak = tops.topk(min(max_peaks, tops.shape[-1]), dim=-1)  # (..., K, P)
    scores, peak = _filled(scores, peak)
    y, x = peak // width, peak % width
    near = (x[..., :, None] - x[..., None, :]).abs() <= 1
    near &= (y[..., :, None] - y[..., None, :]).abs() <= 1
    follows = near & (peak[..., :, None] > peak[..., None, :]) & (scores[..., None, :] > 0)
    scores, order = (scores * ~follows.any(dim=-1)).sort(dim=-1, descending=True, stable=True)
    scores, peak = _filled(scores, peak.gather(-1, order))
    every = maps[..., None, :, :].expand(*maps.shape[:-2], peak.shape[-1], *maps.shape[-2:])
    offset = log_parabola(every, peak)
    return torch.stack((peak % width, peak // width), dim=-1) + offset, scores.clamp(max=1)


def _filled(scores: Tensor, peak: Tensor) -> tuple[Tensor, Tensor]:
    """Leave out the last places of (..., K, P) scores, best first, that no keypoint needs, and of what goes with them.

    Only on a CPU: a GPU would be waited for.
    """
    if scores.device.type != "cpu":
        return scores, peak
    needed = int((scores > 0).sum(dim=-1).max()) if scores.numel() else 0
    return scores[..., :needed], peak[..., :needed]


def _neighbourhood_max(maps: Tensor) -> Tensor:
    """Return the maximum of each cell's 3 x 3 neighbours; on a CPU ten times faster than max_pool2d."""
    padded = pad(maps, (1, 1, 1, 1))  # zeros: a peak is above 0
    rows = torch.maximum(torch.maximum(padded[..., :-2, :], padded[..., 1:-1, :]), padded[..., 2:, :])
    return torch.maximum(torch.maximum(rows[..., :-2], rows[..., 1:-1]), rows[..., 2:])


def limb_scores(pafs: Tensor, start: Tensor, end: Tensor, *, samples: int = 10) -> tuple[Tensor, Tensor]:
    """Say how well the field along the line between every start and every end agrees with its direction.

    Args:
        pafs: (..., 2 L, h, w) float.
        start: (..., L, P, 2) x y in cells, the candidates for the first end of every limb.
        end: (..., L, Q, 2) x y in cells, those for the second.
        samples: points on each line, read from the nearest cell.

    Returns:
        (..., L, P, Q) mean of field times direction in about [-1, 1], and (..., L, P, Q) share of the points where it
        is above .05, so that one strong spot does not make a limb.

    Source: Cao et al., equation 11; the share as in OpenPose's `bodyPartConnectorBase.cpp`.
    """
    height, width = pafs.shape[-2:]
    start_x, start_y = start.unbind(-1)
    end_x, end_y = end.unbind(-1)
    line_x = end_x[..., None, :] - start_x[..., :, None]  # (..., L, P, Q); planes are what a CPU works on fastest
    line_y = end_y[..., None, :] - start_y[..., :, None]
    length = torch.hypot(line_x, line_y).clamp(min=1e-6)
    steps = torch.linspace(0, 1, samples, device=pafs.device, dtype=line_x.dtype)[:, None, None]
    x = (line_x[..., None, :, :] * steps).add_(start_x[..., None, :, None]).round_()  # (..., L, S, P, Q)
    y = (line_y[..., None, :, :] * steps).add_(start_y[..., None, :, None]).round_()
    cell = (y.clamp_(0, height - 1) * width + x.clamp_(0, width - 1)).long().flatten(-3)
    field_x, field_y = pafs.to(line_x.dtype).unflatten(-3, (-1, 2)).flatten(-2).unbind(-2)  # (..., L, h w)
    along = field_x.gather(-1, cell).view(x.shape) * (line_x / length)[..., None, :, :]
    along += field_y.gather(-1, cell).view(x.shape) * (line_y / length)[..., None, :, :]
    return along.mean(dim=-3), (along > _MIN_SAMPLE).to(along.dtype).mean(dim=-3)


def find_limbs(
    peaks: Tensor, peak_scores: Tensor, pafs: Tensor, *, edges: Edges, min_limb_score: float = 0.05
) -> Tensor:
    """Say which peaks may be the two ends of a limb, and how well the field agrees.

    Args:
        peaks: (..., K, P, 2) x y in cells, from `find_peaks`.
        peak_scores: (..., K, P); 0 is no peak.
        pafs: (..., 2 L, h, w) float.
        edges: L pairs of keypoint indexes.
        min_limb_score: limbs whose field agrees less are none; above 0.

    Returns:
        (..., L, P, P), first ends by second ones: mean of field times direction, 0 for what is no limb.
    """
    first, second = (indexes(ends, like=peaks) for ends in zip(*edges, strict=True))
    mean, share = limb_scores(pafs, peaks.index_select(-3, first), peaks.index_select(-3, second))
    possible = peak_scores.index_select(-2, first)[..., :, None] > 0
    possible = possible & (peak_scores.index_select(-2, second)[..., None, :] > 0)
    possible = possible & (mean >= min_limb_score) & (share >= _MIN_SHARE)
    return torch.where(possible, mean, 0.0)


def group_people(peaks: Tensor, peak_scores: Tensor, limbs: Tensor, *, edges: Edges) -> tuple[Tensor, Tensor]:
    """Put the peaks that limbs connect together to people.

    All possible limbs of all kinds are taken best first. One is accepted if the people of its two ends can be joined,
    that is, if they do not both have some keypoint. This is greedy bipartite matching for each kind of limb and the
    merging of its results in one.

    Args:
        peaks: (K, P, 2) x y in cells, from `find_peaks`; on the CPU, as all of one picture.
        peak_scores: (K, P); 0 is no peak, and limbs that end there are none.
        limbs: (L, P, P), from `find_limbs`.
        edges: L pairs of keypoint indexes.

    Returns:
        (N, K, 2) x y in cells and (N, K) scores, the person with most summed score first; 0 where a person lacks a
        keypoint. Peaks without any limb are no person.

    Source: Cao et al., section 3.4; all limbs in one order as in OpenPose's `bodyPartConnectorBase.cpp`.
    """
    num_keypoints, num_peaks = peak_scores.shape
    first, second = (indexes(ends, like=peaks) for ends in zip(*edges, strict=True))
    possible = (limbs > 0) & (peak_scores[first] > 0)[:, :, None] & (peak_scores[second] > 0)[:, None]
    limb, start, end = possible.nonzero(as_tuple=True)
    order = limbs[limb, start, end].argsort(descending=True, stable=True)
    pairs = torch.stack((first[limb] * num_peaks + start, second[limb] * num_peaks + end), dim=1)[order]
    people = _join(pairs.tolist(), num_peaks)
    keypoints = peaks.new_zeros(len(people), num_keypoints, 2)
    scores = peaks.new_zeros(len(people), num_keypoints)
    if people:
        person = torch.tensor([i for i, members in enumerate(people) for _ in members])
        node = torch.tensor([number for members in people for number in members])
        keypoints[person, node // num_peaks] = peaks.flatten(0, 1)[node]
        scores[person, node // num_peaks] = peak_scores.flatten()[node]
    best = scores.sum(dim=1).argsort(descending=True, stable=True)
    return keypoints[best], scores[best]


def _join(pairs: list[list[int]], num_peaks: int) -> list[list[int]]:
    """Merge connected nodes to people, best pair first; a node is keypoint * num_peaks + peak."""
    person_of = {node: node for pair in pairs for node in pair}  # known by one of its nodes
    members = {node: [node] for node in person_of}
    keypoints = {node: 1 << node // num_peaks for node in person_of}  # that a person has, a bit each
    for start, end in pairs:
        one, other = person_of[start], person_of[end]
        if keypoints[one] & keypoints[other]:  # as one and the same person has, too
            continue
        keypoints[one] |= keypoints[other]
        members[one] += members[other]
        for node in members[other]:
            person_of[node] = one
    return [members[person] for person in dict.fromkeys(person_of.values()) if len(members[person]) > 1]
