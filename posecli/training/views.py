"""What a proposer is shown in training: windows of pictures, put together, with their people. Whole batches at once.

Whatever is done to a picture, its people follow: boxes end at what is shown, keypoints that are not shown are not
labelled, and people of whom too little is left are neither to be found nor an error to find. Crowds, and what may hold
people without boxes, stay regions of which nothing is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from posecli.geometry.affine import compose, crop_matrices, invert, transform_points, warp
from posecli.geometry.boxes import area, intersection
from posecli.skeleton import MIRROR
from posecli.training.augment import PictureAugment, chance, mirror_x, uniform
from posecli.training.samples import Pictures

_ZOOM = (-0.75, 0.3)  # logarithm of how much of the picture's long side is shown
_JITTER = (0.1, 2.0)  # large-scale jitter: size of a picture relative to one that just fits; Ghiasi et al., section 3
_CENTRE = (0.3, 0.7)  # where four pictures meet, as a fraction of the view
_NEAR = (0.5, 1.1)  # side of a close-up, relative to the square root of the person's box
_NEAR_LEAST = 0.25  # of the picture's long side; smaller people, by the same measure, would be blurred in a close-up
_LEAST_SIDE = 3.0  # pixels; people who are narrower in a view are not to be found
_HARDLY = 0.02  # of a person's box in view: as good as nothing
_PASTED = 4  # people at most that one picture gets from another
_FEATHER = 0.15  # of half a pasted box: over so much of it the person fades out
_PEOPLE = ("boxes", "valid", "unknown", "points", "weights")  # fields of `Views` with a row a person
_TOUCHED = 0.1  # of a box: who comes along with a pasted one, or lies in a crowd


@dataclass(frozen=True, slots=True)
class Views:
    """N pictures as a proposer sees them, G people each."""

    images: Tensor  # (N, 3, H, W) RGB in [0, 1]
    boxes: Tensor  # (N, G, 4) xyxy, pixels of the view, cut where the view, or its part with that person, ends
    valid: Tensor  # (N, G) bool: somebody to be found
    unknown: Tensor  # (N, G) bool: a crowd, somebody cut off, or a part with people who have no boxes
    points: Tensor  # (N, G, K, 2) pixels of the view
    weights: Tensor  # (N, G, K) float in [0, 1]; 0 = not labelled, or not shown
    complete: Tensor  # (N,) bool: beyond `unknown` boxes, what is no box is nobody

    def labels(self) -> dict[str, Tensor]:
        """Return everything but the images."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name != "images"}

    def __getitem__(self, index: Tensor) -> Views:
        """Return some of the pictures."""
        return Views(*(getattr(self, item.name)[index] for item in fields(self)))


def draw_views(
    pictures: Pictures, index: Tensor, generator: torch.Generator, augment: PictureAugment, hw: tuple[int, int]
) -> Views:
    """Show pictures as the augmentation says, colours apart; in no particular order.

    Args:
        pictures: the samples.
        index: (N,) long, which of them.
        generator: of randomness, on the CPU.
        augment: see there.
        hw: height and width of the views.
    """
    matrices = draw_windows(pictures, index, generator, augment, hw)
    mixed = torch.zeros_like(index, dtype=torch.bool)
    if augment.mosaic:
        mixed = chance(generator, len(index), augment.mosaic, matrices)
    parts = []
    if not mixed.all():
        parts.append(show(pictures, index[~mixed], matrices[~mixed], hw, min_shown=augment.min_shown))
    if mixed.any():
        quarters = [(index.roll(turn)[mixed], matrices.roll(turn, 0)[mixed]) for turn in range(4)]
        parts.append(mosaic(pictures, quarters, generator, hw, min_shown=augment.min_shown))
    views = joined(parts)
    if augment.copy_paste:
        receives = chance(generator, len(index), augment.copy_paste, matrices)
        views = copy_paste(views, receives, generator, min_shown=augment.min_shown)
    return packed(views)


def draw_windows(
    pictures: Pictures, index: Tensor, generator: torch.Generator, augment: PictureAugment, hw: tuple[int, int]
) -> Tensor:
    """Return (N, 2, 3) matrices from pixels of a view to canvas pixels: a random place at a random zoom.

    With `large_jitter` some pictures are shown at .1 to 2 times the size that fits, small ones on black. Source: Ghiasi
    et al., "Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation", CVPR 2021, section 3.
    """
    count, like = len(index), pictures.boxes
    sizes = pictures.sizes_wh[index]
    fit = sizes.amax(1) / max(hw)  # canvas pixels per input pixel when the whole picture is shown
    zoom = torch.exp(uniform(generator, (count,), *_ZOOM, like))  # < 1: closer
    if augment.large_jitter:
        jitter = 1 / uniform(generator, (count,), *_JITTER, like)
        zoom = torch.where(chance(generator, count, augment.large_jitter, like), jitter, zoom)
    pixels = (fit * zoom)[:, None] * like.new_tensor((hw[1], hw[0]))
    slack = (sizes - pixels).abs() / 2 + 0.1 * pixels
    centre = sizes / 2 + slack * uniform(generator, (count, 2), -1, 1, like)
    windows = torch.cat((centre - pixels / 2, centre + pixels / 2), dim=1)
    if augment.close_up:
        windows = _close_ups(windows, pictures, index, generator, augment.close_up)
    matrices = crop_matrices(windows, crop_hw=hw)
    return mirror_x(matrices, chance(generator, count, augment.flip, like), hw[1])


def _close_ups(windows: Tensor, pictures: Pictures, index: Tensor, generator: torch.Generator, rate: float) -> Tensor:
    """Move some of (N, 4) windows so near one of the picture's people that head, legs or arms are out of view."""
    valid, boxes = pictures.valid[index], pictures.boxes[index]
    large = valid & (area(boxes).sqrt() >= _NEAR_LEAST * pictures.sizes_wh[index].amax(1, keepdim=True))
    chosen = torch.multinomial(large.float().cpu() + 1e-6, 1, generator=generator).to(boxes.device)[:, 0]
    rows = torch.arange(len(index), device=boxes.device)
    near = chance(generator, len(index), rate, boxes) & large[rows, chosen]
    box = boxes[rows, chosen]
    size_wh = windows[:, 2:] - windows[:, :2]
    side = area(box).sqrt() * uniform(generator, (len(index),), *_NEAR, boxes)
    half = size_wh * (side / size_wh.amax(1).clamp(min=1))[:, None] / 2
    place = uniform(generator, (len(index), 2), 0.25, 0.75, boxes)
    centre = box[:, :2] + place * (box[:, 2:] - box[:, :2])
    return torch.where(near[:, None], torch.cat((centre - half, centre + half), dim=1), windows)


def show(
    pictures: Pictures,
    index: Tensor,
    matrices: Tensor,
    hw: tuple[int, int],
    *,
    min_shown: float,
    frames: Tensor | None = None,
) -> Views:
    """Look at pictures through windows.

    Args:
        pictures: the samples.
        index: (N,) long, which of them.
        matrices: (N, 2, 3) view pixels to canvas pixels, mirrored or not.
        hw: height and width of the views.
        min_shown: people of whose box less is shown are `unknown`.
        frames: (N, 4) xyxy, part of the view that people are cut at; the whole of it if omitted.
    """
    to_view = invert(matrices)
    if frames is None:
        frames = matrices.new_tensor((0, 0, hw[1], hw[0])).expand(len(index), 4)
    images = warp(pictures.canvases[index].float().div_(255), matrices, crop_hw=hw)
    points, weights = pictures.points[index], pictures.weights[index]
    points = transform_points(points.flatten(1, 2), to_view).view(points.shape)
    mirror = torch.tensor(MIRROR, device=points.device)
    flipped = matrices[:, 0, 0] < 0
    points = torch.where(flipped[:, None, None, None], points[:, :, mirror], points)
    weights = torch.where(flipped[:, None, None], weights[:, :, mirror], weights)
    low, high = frames[:, None, :2], frames[:, None, 2:]
    inside = ((points >= low[:, :, None]) & (points <= high[:, :, None] - 1)).all(-1)
    corners = transform_points(pictures.boxes[index].unflatten(-1, (2, 2)).flatten(1, 2) - 0.5, to_view) + 0.5
    corners = corners.unflatten(1, (-1, 2))  # (N, G, 2, 2)
    whole = torch.cat((corners.amin(2), corners.amax(2)), dim=-1)
    boxes = torch.cat((whole[..., :2].maximum(low).minimum(high), whole[..., 2:].maximum(low).minimum(high)), dim=-1)
    shown = area(boxes) / area(whole).clamp(min=1e-6)
    valid, crowd = pictures.valid[index], pictures.crowd[index]
    found = (shown > min_shown) & ((boxes[..., 2:] - boxes[..., :2]).amin(-1) > _LEAST_SIDE)
    return Views(
        images=images,
        boxes=boxes,
        valid=valid & found,
        unknown=(valid & ~found & (shown > _HARDLY)) | crowd,
        points=points,
        weights=weights * inside * valid[..., None],
        complete=pictures.complete[index],
    )


def mosaic(
    pictures: Pictures,
    quarters: Sequence[tuple[Tensor, Tensor]],
    generator: torch.Generator,
    hw: tuple[int, int],
    *,
    min_shown: float,
) -> Views:
    """Put four windows into each view, shrunk, around a random point where they meet.

    A window fills its quarter from that point on, and is cut where the view ends. A picture whose people are not all
    boxed makes its quarter `unknown`; the rest of the view is complete.

    Args:
        pictures: the samples.
        quarters: four times (N,) long, which sample, and (N, 2, 3) matrices as if it filled the view: top left, top
            right, bottom left, bottom right.
        generator: of randomness, on the CPU.
        hw: height and width of the views.
        min_shown: see `show`.

    Source: Bochkovskiy et al., "YOLOv4", 2020, section 3.3; the random point as in Ge et al., "YOLOX", 2021.
    """
    like = quarters[0][1]
    size_wh = like.new_tensor((hw[1], hw[0]))
    centre = (size_wh * uniform(generator, (len(like), 2), *_CENTRE, like)).round()  # on the edge between two pixels
    images, parts = like.new_zeros(len(like), 3, *hw), []
    for number, (index, matrices) in enumerate(quarters):
        side = like.new_tensor((number % 2, number // 2))  # 0: left of, or above, the centre
        frames = torch.cat((centre * side, centre + (size_wh - centre) * side), dim=1)
        scale = ((frames[:, 2:] - frames[:, :2]) / size_wh).amax(1)  # of the window: it covers its quarter
        start = centre + (side - 1) * size_wh * scale[:, None]  # where the whole shrunk window would start
        shrink = crop_matrices(torch.cat((-start, size_wh - start), dim=1) / scale[:, None], crop_hw=hw)
        part = show(pictures, index, compose(matrices, shrink), hw, min_shown=min_shown, frames=frames)
        images = torch.where(_within(frames, hw), part.images, images)
        parts.append(_with_frames(part, frames))
    people = {name: torch.cat([getattr(part, name) for part in parts], dim=1) for name in _PEOPLE}
    return Views(images=images, complete=parts[0].complete, **people)


def _within(frames: Tensor, hw: tuple[int, int]) -> Tensor:
    """Say which pixels lie in (N, 4) frames: (N, 1, H, W) bool."""
    x = torch.arange(hw[1], device=frames.device) + 0.5
    y = torch.arange(hw[0], device=frames.device) + 0.5
    across = (x > frames[:, :1]) & (x < frames[:, 2:3])
    down = (y > frames[:, 1:2]) & (y < frames[:, 3:])
    return (down[:, :, None] & across[:, None, :])[:, None]


def _with_frames(views: Views, frames: Tensor) -> Views:
    """Add a person to each view who is its (N, 4) frame: `unknown` where not everybody has a box."""
    nobody = torch.zeros_like(views.valid[:, :1])
    return replace(
        views,
        boxes=torch.cat((views.boxes, frames[:, None]), dim=1),
        valid=torch.cat((views.valid, nobody), dim=1),
        unknown=torch.cat((views.unknown, ~views.complete[:, None]), dim=1),
        points=torch.cat((views.points, torch.zeros_like(views.points[:, :1])), dim=1),
        weights=torch.cat((views.weights, torch.zeros_like(views.weights[:, :1])), dim=1),
        complete=torch.ones_like(views.complete),
    )


def copy_paste(views: Views, receives: Tensor, generator: torch.Generator, *, min_shown: float) -> Views:
    """Paste people of the next view of the batch over some views, where they stand there.

    A person is cut out as his box with round corners that fade out, since there are no masks: some background comes
    along. Views of nobody get nobody: they show what is no person. People come from views that are complete, and from
    outside of crowds. Who is covered too much becomes `unknown`, as do neighbours who come along in part; covered
    keypoints are not labelled.

    Args:
        views: all of the same size.
        receives: (N,) bool, which of them get people.
        generator: of randomness, on the CPU.
        min_shown: people whose box is covered but for less than this are `unknown`.

    Source: Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation",
    CVPR 2021, section 3: a random subset of another picture's objects, after that picture's own jitter. There: masks.
    """
    views = packed(views)
    source = views[torch.arange(len(views.boxes), device=views.boxes.device).roll(1)]
    populated = (views.valid | views.unknown).any(1) | ~views.complete
    crowded = _covered(source.boxes, source.boxes, source.unknown) > _TOUCHED
    asked = torch.rand(source.valid.shape, generator=generator).to(source.boxes.device)
    able = source.valid & ~crowded & (receives & populated & source.complete)[:, None]
    asked = torch.where(able, asked, 0.0)
    bar = asked.topk(min(_PASTED, asked.shape[1]), dim=1)
    chosen = torch.zeros_like(able).scatter(1, bar.indices, bar.values > 0.5)  # half of them, and not too many
    pasted = source.boxes.gather(1, bar.indices[..., None].expand(-1, -1, 4))
    cover = _stencil(pasted, bar.values > 0.5, (views.images.shape[-2], views.images.shape[-1]))  # (N, H, W)
    images = torch.lerp(views.images, source.images, cover[:, None])
    hidden = views.valid & (_covered(views.boxes, source.boxes, chosen) > 1 - min_shown)
    along = (source.valid | source.unknown) & ~chosen & (_covered(source.boxes, source.boxes, chosen) > _TOUCHED)
    weights = torch.where(_at(cover, views.points) > 0.5, 0.0, views.weights)
    return replace(
        views,
        images=images,
        boxes=torch.cat((views.boxes, source.boxes), dim=1),
        valid=torch.cat((views.valid & ~hidden, chosen), dim=1),
        unknown=torch.cat((views.unknown | hidden, along), dim=1),
        points=torch.cat((views.points, source.points), dim=1),
        weights=torch.cat((weights, source.weights * chosen[..., None]), dim=1),
    )


def _covered(boxes: Tensor, others: Tensor, active: Tensor) -> Tensor:
    """Return which share of (N, G, 4) boxes the active ones of (N, H, 4) cover, at most: (N, G); none covers itself."""
    common = intersection(boxes, others) * active[:, None]
    if boxes is others:
        common = common * ~torch.eye(boxes.shape[1], dtype=torch.bool, device=boxes.device)
    return (common.sum(-1) / area(boxes).clamp(min=1e-6)).clamp(max=1)


def _stencil(boxes: Tensor, active: Tensor, hw: tuple[int, int]) -> Tensor:
    """Draw active ones of (N, P, 4) boxes with round, soft edges: (N, H, W) in [0, 1]."""
    middle, half = (boxes[..., :2] + boxes[..., 2:]) / 2, ((boxes[..., 2:] - boxes[..., :2]) / 2).clamp(min=1)
    x = torch.arange(hw[1], device=boxes.device) + 0.5
    y = torch.arange(hw[0], device=boxes.device) + 0.5
    across = ((x - middle[..., :1]) / half[..., :1]) ** 4  # (N, P, W)
    down = ((y - middle[..., 1:]) / half[..., 1:]) ** 4
    radius = (down[..., None] + across[..., None, :]) ** 0.25
    return (((1 - radius) / _FEATHER).clamp(0, 1) * active[..., None, None]).amax(1)


def _at(maps: Tensor, points: Tensor) -> Tensor:
    """Read (N, H, W) maps at the nearest pixels of (N, G, K, 2) points: (N, G, K)."""
    height, width = maps.shape[-2:]
    x = points[..., 0].round().clamp(0, width - 1).long()
    y = points[..., 1].round().clamp(0, height - 1).long()
    return maps.flatten(1).gather(1, (y * width + x).flatten(1)).view(x.shape)


def packed(views: Views) -> Views:
    """Leave out people who are neither to be found nor unknown, as far as all views have such."""
    active = views.valid | views.unknown
    most = max(1, int(active.sum(1).max()))
    order = active.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    rows = torch.arange(len(order), device=order.device)[:, None]
    return replace(views, **{name: getattr(views, name)[rows, order] for name in _PEOPLE})


def joined(parts: Sequence[Views]) -> Views:
    """Return the views of several batches as one, their people padded to the same number."""
    people = max(part.valid.shape[1] for part in parts)
    columns = {}
    for item in fields(Views):
        values = [getattr(part, item.name) for part in parts]
        if item.name in _PEOPLE:
            missing = [value.new_zeros(len(value), people - value.shape[1], *value.shape[2:]) for value in values]
            values = [torch.cat(pair, dim=1) for pair in zip(values, missing, strict=True)]
        columns[item.name] = torch.cat(values)
    return Views(**columns)
