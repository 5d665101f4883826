"""Frames to proposals: boxes before the filter, and the coarse heatmaps and part affinity fields to judge them by.

A proposal network gives both in one pass. Boxes of anything else, another detector or the user's file, are judged by a
proposal network's maps all the same. Source: DetPoseNet section III-A, and Fig. 9 for other detectors.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from posecli.config import DetectConfig
from posecli.geometry.boxes import clip
from posecli.networks import ModelSpec
from posecli.networks.detposenet import RawProposals
from posecli.records import CoarseMaps, Frame, Proposals
from posecli.runtime import place
from posecli.skeleton import EDGES, NUM_KEYPOINTS
from posecli.stages.batches import Batches

_GRID = 32  # the network halves its input five times

Boxes = tuple[Tensor, Tensor]  # (P, 4) xyxy, image pixels, and (P,) scores in [0, 1]


class BoxSource(Protocol):
    """Where boxes come from: a detector network (`Detector`) or a file (`media.boxes.BoxFile`)."""

    def __call__(self, frames: Sequence[Frame]) -> Sequence[Boxes | None]:
        """Return the boxes of each frame, which have pictures, in any order and with any score.

        None for a frame of which nothing is known: nobody is looked for on it, not even by the filter.
        """


class ProposalSource(Protocol):
    """The first stage of the pipeline."""

    @property
    def batches(self) -> Sequence[Batches]:
        """What its networks run in; some were made smaller, perhaps, and have a note."""

    def __call__(self, frames: Sequence[Frame]) -> list[Proposals]:
        """Return one record for each frame, which have pictures, in the frame's own pixels."""


def choose(boxes: Tensor, box_scores: Tensor, config: DetectConfig, *, image_wh: tuple[int, int]) -> Boxes:
    """Return the best boxes first: those sure enough, cut at the picture's edges, and no more than are wanted.

    Args:
        boxes: (P, 4) xyxy, image pixels.
        box_scores: (P,) in [0, 1].
        config: the thresholds.
        image_wh: width and height of the picture.
    """
    best, index = box_scores.float().topk(min(config.max_proposals, len(box_scores)))
    index, best = index[best >= config.min_box_score], best[best >= config.min_box_score]
    boxes = clip(boxes[index].float(), width=image_wh[0], height=image_wh[1])
    inside = ((boxes[:, 2:] - boxes[:, :2]) > 1).all(-1)
    return boxes[inside], best[inside]


class Proposer:
    """The proposal network with its preprocessing: boxes and maps in one pass."""

    def __init__(self, network: nn.Module, spec: ModelSpec, config: DetectConfig, device: torch.device) -> None:
        self.network = place(network, device)
        self.spec, self.config, self.device = spec, config, device
        self.batches = (Batches("frames", "take a smaller --detector-size, or --device cpu"),)

    def __call__(self, frames: Sequence[Frame]) -> list[Proposals]:
        """Propose people in each frame; pictures of one size share a batch."""
        images = pictures(frames)
        groups = defaultdict(list)
        for number, image in enumerate(images):
            groups[image.shape].append(number)
        found: dict[int, Proposals] = {}
        for numbers in groups.values():
            proposed = self._in_batches([images[number] for number in numbers])
            found.update(zip(numbers, proposed, strict=True))
        return [found[number] for number in range(len(images))]

    def _in_batches(self, images: list[Tensor]) -> Iterator[Proposals]:
        """Propose people in pictures of one size."""
        (batches,), count = self.batches, len(images)
        parts = batches.run(lambda part: self._look(torch.stack(images[part])), count, size=count, device=self.device)
        return chain.from_iterable(parts)

    def _look(self, images: Tensor) -> list[Proposals]:
        """Propose people in (N, H, W, 3) uint8 pictures."""
        height, width = images.shape[1:3]
        factor = self.config.detector_size / max(height, width)
        raw = self.network(self._prepare(images, factor))
        return [self._read(raw, row, factor, (width, height)) for row in range(len(images))]

    def _prepare(self, images: Tensor, factor: float) -> Tensor:
        """Shrink (N, H, W, 3) uint8 to the input size, pad with black to the grid, normalise: (N, 3, h, w)."""
        images = images.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
        size_hw = [max(1, round(side * factor)) for side in images.shape[-2:]]
        # uint8 resizing is many times faster on a CPU, and not to be had elsewhere
        images = images if images.device.type == "cpu" else images.float()
        small = interpolate(images, size_hw, mode="bilinear", antialias=True).float() / 255
        small = pad(small, (0, -size_hw[1] % _GRID, 0, -size_hw[0] % _GRID))
        return self.spec.normalise(small)

    def _read(self, raw: RawProposals, row: int, factor: float, image_wh: tuple[int, int]) -> Proposals:
        scores = raw.logits[row].sigmoid()
        boxes, scores = choose(raw.boxes[row] / factor, scores, self.config, image_wh=image_wh)
        maps = CoarseMaps(raw.heatmaps[row].float(), raw.pafs[row].float(), self.spec.codec.stride / factor)
        return Proposals(boxes, scores, maps)


class Detector:
    """A detector network that prepares its pictures itself."""

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self.network, self.device = place(network, device), device
        self.batches = Batches("frames", "take another --detector, or --device cpu")

    def __call__(self, frames: Sequence[Frame]) -> list[Boxes]:
        """Find people's boxes in each frame."""
        images = pictures(frames)
        count = len(images)
        parts = self.batches.run(lambda part: self._look(images[part]), count, size=count, device=self.device)
        return list(chain.from_iterable(parts))

    def _look(self, images: Sequence[Tensor]) -> list[Boxes]:
        placed = [image.to(self.device, non_blocking=True).permute(2, 0, 1) for image in images]
        found: list[Boxes] = self.network([image.float() / 255 for image in placed])
        return found


class JudgedBoxes:
    """Boxes of any source, beside the maps of a proposal network for the filter to judge them by."""

    def __init__(
        self, source: BoxSource, proposer: ProposalSource | None, config: DetectConfig, device: torch.device
    ) -> None:
        self.source, self.proposer, self.config, self.device = source, proposer, config, device

    @property
    def batches(self) -> tuple[Batches, ...]:
        """What the detector and the proposal network run in, as far as there are such."""
        own = (self.source.batches,) if isinstance(self.source, Detector) else ()
        return (*own, *(self.proposer.batches if self.proposer else ()))

    def __call__(self, frames: Sequence[Frame]) -> list[Proposals]:
        """Look for boxes, and run the proposal network, if there is one: without the filter none is needed."""
        given = self.source(frames)
        known = [frame for frame, boxes in zip(frames, given, strict=True) if boxes is not None]
        maps = iter(self.proposer(known) if self.proposer and known else [_nobody(self.device)] * len(known))
        return [
            _nobody(self.device) if boxes is None else self._beside(next(maps), frame, boxes)
            for frame, boxes in zip(frames, given, strict=True)
        ]

    def _beside(self, maps: Proposals, frame: Frame, boxes: Boxes) -> Proposals:
        found, scores = boxes[0].to(self.device), boxes[1].to(self.device)
        found, scores = choose(found, scores, self.config, image_wh=(frame.width, frame.height))
        return replace(maps, boxes=found, box_scores=scores)


def _nobody(device: torch.device) -> Proposals:
    """Return no boxes, and maps without a keypoint."""
    none = torch.zeros(1, 1, 1, device=device)
    maps = CoarseMaps(none.expand(NUM_KEYPOINTS, 1, 1), none.expand(2 * len(EDGES), 1, 1), 1.0)
    return Proposals(none[0, :0].expand(0, 4), none[0, 0, :0], maps)


def pictures(frames: Sequence[Frame]) -> list[Tensor]:
    """Return the frames' (H, W, 3) uint8 pictures; all must have one."""
    images = [frame.image for frame in frames if frame.image is not None]
    if len(images) < len(frames):
        raise ValueError("a frame without a picture cannot be looked at")
    return images
