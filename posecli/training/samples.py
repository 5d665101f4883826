"""What a task trains on: one uint8 canvas a sample, with its labels in canvas pixels. Needs torch alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import torch
from torch import Tensor

Samples = TypeVar("Samples", "Crops", "Pictures")


class Canvases:
    """M pictures of one size, in memory once each, however often an epoch shows them.

    Args:
        images: (3, H, W) uint8 each; the same tensor may stand there several times.
    """

    def __init__(self, images: Sequence[Tensor] | Tensor) -> None:
        self._images = images

    def __len__(self) -> int:
        """Count the pictures."""
        return len(self._images)

    def __getitem__(self, index: Tensor) -> Tensor:
        """Return the (N, 3, H, W) uint8 pictures of an (N,) index, on the device where they lie."""
        if isinstance(self._images, Tensor):
            return self._images[index]
        return torch.stack([self._images[number] for number in index.tolist()])

    def to(self, device: torch.device) -> Canvases:
        """Bring the pictures to a device; on the CPU they stay where they are."""
        if device.type == "cpu" and not isinstance(self._images, Tensor):
            return self
        together = self._images if isinstance(self._images, Tensor) else torch.stack(list(self._images))
        return Canvases(together.to(device))


@dataclass(frozen=True, slots=True)
class Crops:
    """M people (or places without people), each on a canvas of its own."""

    canvases: Canvases  # M of (3, H, W) uint8 RGB
    boxes: Tensor  # (M, 4) xyxy, canvas pixels; the person's own box
    points: Tensor  # (M, K, 2) canvas pixels
    weights: Tensor  # (M, K) float in [0, 1]; 0 = not labelled
    present: Tensor  # (M, K) bool; False with weight 1: known not to be there


@dataclass(frozen=True, slots=True)
class Pictures:
    """M pictures on square canvases, up to G people each."""

    canvases: Canvases  # M of (3, S, S) uint8 RGB, the picture in the top left corner
    sizes_wh: Tensor  # (M, 2) of the pictures, canvas pixels
    boxes: Tensor  # (M, G, 4) xyxy, canvas pixels
    valid: Tensor  # (M, G) bool, a person to be found
    crowd: Tensor  # (M, G) bool, a region whose people are not listed
    points: Tensor  # (M, G, K, 2) canvas pixels
    weights: Tensor  # (M, G, K) float in [0, 1]
    complete: Tensor  # (M,) bool, everybody has a box


def on_device(samples: Samples, device: torch.device) -> Samples:
    """Return the samples with everything on a device."""
    return type(samples)(*(getattr(samples, item.name).to(device) for item in fields(samples)))
