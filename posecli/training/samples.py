"""What a task trains on: one uint8 canvas a sample, with its labels in canvas pixels. Needs torch and numpy alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

Samples = TypeVar("Samples", bound="Crops | Pictures")


class Canvases:
    """M pictures of one size, in memory once each, however often an epoch shows them.

    Args:
        images: D different ones, (3, H, W) uint8 each: one tensor, or several, as they come from files.
        places: (M,) long, which of them each sample shows; by default each in its turn.
        shown_on: where `images` stays where it is, because it is a file and larger than any memory: the device that
            what is asked for is brought to.
    """

    def __init__(
        self,
        images: Tensor | Sequence[Tensor],
        places: Tensor | None = None,
        *,
        shown_on: torch.device | None = None,
    ) -> None:
        self.images, self.shown_on = images, shown_on
        self.places = torch.arange(len(images)) if places is None else places

    @classmethod
    def of(cls, images: Sequence[Tensor]) -> Canvases:
        """Hold a list in which the same tensor may stand several times."""
        places: dict[int, int] = {}
        for image in images:
            places.setdefault(id(image), len(places))
        different = {id(image): image for image in images}
        return cls([different[key] for key in places], torch.tensor([places[id(image)] for image in images]))

    @classmethod
    def joined(cls, parts: Sequence[Canvases]) -> Canvases:
        """Hold the pictures of several, one after the other: as one tensor, unless all of them are loose."""
        places, before = [], 0
        for part in parts:
            places.append(part.places + before)
            before += len(part.images)
        if not any(isinstance(part.images, Tensor) for part in parts):
            return cls([image for part in parts for image in part.images], torch.cat(places))
        return cls(torch.cat([_stacked(part.images) for part in parts]), torch.cat(places))

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.places)

    def __getitem__(self, index: Tensor) -> Tensor:
        """Return the (N, 3, H, W) uint8 pictures of an (N,) index, on the device where they lie, or are shown."""
        places = self.places[index.to(self.places.device)]
        if isinstance(self.images, Tensor):
            found = self.images[places.to(self.images.device)]
            return found if self.shown_on is None else found.to(self.shown_on, non_blocking=True)
        return torch.stack([self.images[place] for place in places.tolist()])

    def to(self, device: torch.device) -> Canvases:
        """Bring the pictures to a device; on the CPU, and in a file, they stay where they are."""
        if self.shown_on is not None:
            return Canvases(self.images, self.places, shown_on=device)
        if device.type == "cpu" and not isinstance(self.images, Tensor):
            return self
        return Canvases(_stacked(self.images).to(device), self.places.to(device))


def mapped_canvases(path: Path, shape: tuple[int, ...], places: Tensor) -> Canvases:
    """Show canvases that stay in a file.

    Args:
        path: their bytes, one after the other.
        shape: (D, 3, H, W).
        places: (M,) long, which of them each sample shows.

    Raises:
        ValueError: the file has another size.
    """
    if path.stat().st_size != math.prod(shape):
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes, wanted {math.prod(shape)}")
    if not math.prod(shape):
        raise ValueError(f"{path.name} is empty")
    images = torch.from_numpy(np.memmap(path, np.uint8, mode="c", shape=shape))  # "c": torch wants it writable
    return Canvases(images, places, shown_on=torch.device("cpu"))


def _stacked(images: Tensor | Sequence[Tensor]) -> Tensor:
    return images if isinstance(images, Tensor) else torch.stack(list(images))


@dataclass(frozen=True, slots=True)
class Crops:
    """M people (or places without people), each on a canvas of its own."""

    canvases: Canvases  # M of (3, H, W) uint8 RGB
    boxes: Tensor  # (M, 4) xyxy, canvas pixels; the person's own box
    points: Tensor  # (M, K, 2) canvas pixels
    weights: Tensor  # (M, K) float in [0, 1]; 0 = not labelled
    present: Tensor  # (M, K) bool; False with weight 1: known not to be there
    near_points: Tensor  # (M, K, 2) canvas pixels, of the person whose box overlaps most
    near_labelled: Tensor  # (M, K) bool; nowhere True if no box overlaps
    datasets: Tensor  # (M,) int64, of which of the run's datasets they are


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
    datasets: Tensor  # (M,) int64, of which of the run's datasets they are


def on_device(samples: Samples, device: torch.device) -> Samples:
    """Return the samples with everything on a device."""
    return type(samples)(*(getattr(samples, item.name).to(device) for item in fields(samples)))


def joined(parts: Sequence[Samples]) -> Samples:
    """Return the samples of several sets, one after the other."""
    kind = type(parts[0])
    labels = [item.name for item in fields(kind) if item.name != "canvases"]
    columns = (torch.cat([getattr(part, name) for part in parts]) for name in labels)
    return kind(Canvases.joined([part.canvases for part in parts]), *columns)


def part_of(samples: Samples, number: int, count: int) -> Samples:
    """Return the `number`-th of `count` equal parts, every so many-th sample: each part has something of everything."""
    index = torch.arange(number - 1, len(samples.canvases), count)
    labels = [getattr(samples, item.name)[index] for item in fields(samples) if item.name != "canvases"]
    canvases = samples.canvases
    used, places = canvases.places[index].unique(return_inverse=True)
    images = canvases.images[used] if isinstance(canvases.images, Tensor) else [canvases.images[i] for i in used]
    return type(samples)(Canvases(images, places), *labels)
