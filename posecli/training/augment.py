"""Augmentation as tensor code: a whole batch at once, on the device that trains.

Randomness comes in as a CPU generator, so that a seed gives the same batch on every device.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from posecli.errors import ConfigError
from posecli.geometry.boxes import around_points, fit_aspect
from posecli.skeleton import LOWER_BODY, UPPER_BODY


def uniform(generator: torch.Generator, shape: tuple[int, ...], low: float, high: float, like: Tensor) -> Tensor:
    """Draw uniform numbers in [low, high) on the device of `like`."""
    return (torch.rand(shape, generator=generator) * (high - low) + low).to(like.device, non_blocking=True)


def chance(generator: torch.Generator, count: int, probability: float, like: Tensor) -> Tensor:
    """Draw (count,) bools that are true with a probability."""
    return (torch.rand(count, generator=generator) < probability).to(like.device, non_blocking=True)


@dataclass(frozen=True, kw_only=True)
class CropAugment:
    """How a person's crop is varied; zero everywhere for none."""

    scale: float = 0.35  # factor in [1 - scale, 1 + scale]
    rotation: float = 40.0  # degrees, either way
    rotate: float = 0.6  # probability
    shift: float = 0.06  # of the crop's size, either way
    half_body: float = 0.25  # probability of showing only the upper or lower body
    flip: float = 0.5
    colour: float = 0.25  # strength of brightness, contrast, saturation and channel changes
    grey: float = 0.05
    mask: float = 0.4  # probability of each keypoint masking (DetPoseNet III-C4)
    blend: float = 0.0  # probability that another crop of the batch shines through


@dataclass(frozen=True, kw_only=True)
class PictureAugment:
    """How a proposer's pictures are varied, see `training.views`; shares of the pictures where nothing else is said."""

    flip: float = 0.5
    colour: float = 0.25  # strength, as of `CropAugment`
    grey: float = 0.05
    large_jitter: float = 0.0  # shown at .1 to 2 times the size that fits, instead of .74 to 2.1 (LSJ)
    close_up: float = 0.0  # shown so near one of its people that parts of the body are out of view
    mosaic: float = 0.0  # shown with three others
    copy_paste: float = 0.0  # shown with people of another one pasted in
    min_shown: float = 0.35  # of a person's box; people cut or covered further are neither to be found nor an error

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        for item in fields(self):
            value = getattr(self, item.name)
            if item.name != "colour" and not 0 <= value <= 1:
                raise ConfigError(f"augment: {item.name} must be in [0, 1], got {value}")


def half_body_boxes(boxes: Tensor, points: Tensor, labelled: Tensor, generator: torch.Generator, rate: float) -> Tensor:
    """Replace some people's boxes by a box around their upper or lower body.

    Args:
        boxes: (N, 4) xyxy.
        points: (N, K, 2) in the boxes' frame.
        labelled: (N, K) bool.
        generator: of randomness.
        rate: share of people with enough keypoints to be cut.

    Returns:
        (N, 4) xyxy. Source: the half-body transform of MSPN and mmpose.
    """
    upper = torch.zeros_like(labelled)
    upper[:, list(UPPER_BODY)] = True
    lower = torch.zeros_like(labelled)
    lower[:, list(LOWER_BODY)] = True
    part = torch.where(chance(generator, len(boxes), 0.6, boxes)[:, None], upper, lower) & labelled
    enough = (part.sum(1) >= 3) & (labelled.sum(1) >= 8) & chance(generator, len(boxes), rate, boxes)
    tight = around_points(points, part)
    size_wh = tight[:, 2:] - tight[:, :2]
    pad = 0.2 * size_wh.amax(1, keepdim=True).expand(-1, 2)
    half = torch.cat((tight[:, :2] - pad, tight[:, 2:] + pad), dim=1)
    return torch.where(enough[:, None], half, boxes)


def jitter_boxes(
    boxes: Tensor, generator: torch.Generator, augment: CropAugment, *, aspect: float, margin: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Return (N, 4) crop windows varied in size and place, and (N,) rotations in radians."""
    count = len(boxes)
    windows = fit_aspect(boxes, aspect=aspect, margin=margin)
    centre = (windows[:, :2] + windows[:, 2:]) / 2
    size_wh = windows[:, 2:] - windows[:, :2]
    centre = centre + size_wh * uniform(generator, (count, 2), -augment.shift, augment.shift, boxes)
    half = size_wh / 2 * uniform(generator, (count, 1), 1 - augment.scale, 1 + augment.scale, boxes)
    radians = augment.rotation * torch.pi / 180
    rotation = uniform(generator, (count,), -radians, radians, boxes)
    rotation = rotation * chance(generator, count, augment.rotate, boxes)
    return torch.cat((centre - half, centre + half), dim=1), rotation


def mirror_x(matrices: Tensor, flipped: Tensor, width: int) -> Tensor:
    """Let (N, 2, 3) crop-to-image matrices read their crop from right to left where `flipped`."""
    mirrored = matrices.clone()
    mirrored[:, :, 0] = -matrices[:, :, 0]
    mirrored[:, :, 2] = matrices[:, :, 2] + matrices[:, :, 0] * (width - 1)
    return torch.where(flipped[:, None, None], mirrored, matrices)


def change_colour(images: Tensor, generator: torch.Generator, *, strength: float, grey: float) -> Tensor:
    """Vary brightness, contrast, saturation and channel gains of (N, 3, H, W) images in [0, 1]."""
    count = len(images)
    luma = images.mean(dim=1, keepdim=True)
    saturation = uniform(generator, (count, 1, 1, 1), 1 - 1.6 * strength, 1 + 1.6 * strength, images)
    saturation = saturation * (~chance(generator, count, grey, images))[:, None, None, None]
    gain = uniform(generator, (count, 3, 1, 1), 1 - 0.4 * strength, 1 + 0.4 * strength, images)
    gain = gain * uniform(generator, (count, 1, 1, 1), 1 - strength, 1 + strength, images)
    lift = uniform(generator, (count, 1, 1, 1), -0.5 * strength, 0.5 * strength, images)
    return ((luma + (images - luma) * saturation) * gain + lift).clamp_(0, 1)


def mask_keypoints(
    images: Tensor, points: Tensor, labelled: Tensor, generator: torch.Generator, *, rate: float
) -> Tensor:
    """Apply both keypoint maskings of DetPoseNet III-C4.

    Background masking pastes a patch from elsewhere onto a labelled keypoint (an occlusion); duplication masking
    pastes a keypoint's patch onto a place nearby (an ambiguity). The labels stay as they are.

    Args:
        images: (N, 3, H, W).
        points: (N, K, 2) crop pixels.
        labelled: (N, K) bool.
        generator: of randomness.
        rate: probability of each masking, per crop.

    Returns:
        (N, 3, H, W), a new tensor.
    """
    width = images.shape[-1]
    for duplicate in (False, True):
        keypoint = torch.multinomial(labelled.float().cpu() + 1e-6, 1, generator=generator).to(images.device)
        rows = torch.arange(len(images), device=images.device)
        place = points[rows, keypoint[:, 0]]  # (N, 2)
        away = uniform(generator, (len(images), 2), 0.2, 0.5, images) * width
        sign = torch.where(chance(generator, 2 * len(images), 0.5, images).view(-1, 2), 1.0, -1.0)
        elsewhere = place + away * sign
        target, source = (elsewhere, place) if duplicate else (place, elsewhere)
        radius = uniform(generator, (len(images),), 0.03, 0.11, images) * width
        active = chance(generator, len(images), rate, images) & labelled[rows, keypoint[:, 0]]
        images = _paste(images, source, target, torch.where(active, radius, -1.0), reach=int(0.11 * width) + 1)
    return images


def blend(images: Tensor, generator: torch.Generator, *, rate: float) -> Tensor:
    """Let the next image of the batch shine through some of (N, 3, H, W) images, with up to half of its strength.

    The labels stay those of the stronger image; what a teacher sees is both. Source: Zhang et al., "mixup", ICLR 2018,
    as Beyer et al., "Knowledge Distillation: A Good Teacher is Patient and Consistent", CVPR 2022, use it.
    """
    share = uniform(generator, (len(images),), 0, 0.5, images) * chance(generator, len(images), rate, images)
    return torch.lerp(images, images.roll(1, 0), share[:, None, None, None])


def _paste(images: Tensor, source: Tensor, target: Tensor, radius: Tensor, *, reach: int) -> Tensor:
    """Copy a square of (N,) `radius` pixels, none if negative, about (N, 2) `source` to `target` in each image."""
    height, width = images.shape[-2:]
    offsets = torch.arange(-reach, reach + 1, device=images.device)
    limit = source.new_tensor((width - 1, height - 1))
    from_xy = (source.round()[:, None] + offsets[None, :, None]).clamp(min=0).minimum(limit).long()  # (N, P, 2)
    to_xy = target.round()[:, None] + offsets[None, :, None]
    inside = (to_xy >= 0) & (to_xy <= limit) & (offsets.abs()[None, :, None] <= radius[:, None, None])
    to_xy = to_xy.clamp(min=0).minimum(limit).long()
    paste = inside[:, :, None, 1] & inside[:, None, :, 0]  # (N, P, P), rows first
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    patch = images[batch, :, from_xy[:, :, None, 1], from_xy[:, None, :, 0]]  # (N, P, P, 3)
    chosen = paste.nonzero(as_tuple=True)
    result = images.clone()
    result[chosen[0], :, to_xy[chosen[0], chosen[1], 1], to_xy[chosen[0], chosen[2], 0]] = patch[chosen]
    return result
