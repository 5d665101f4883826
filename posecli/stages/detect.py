"""Frames to proposals: boxes before the filter, and the coarse keypoints and limbs to judge them by.

A proposal network gives both in one pass. Boxes of anything else, another detector or the user's file, are judged by a
proposal network's heatmaps and part affinity fields all the same.

Source: DetPoseNet section III-A, and Fig. 9 for other detectors.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from posecli.config import DetectConfig
from posecli.geometry.boxes import clip
from posecli.geometry.paf import find_limbs, find_peaks
from posecli.networks import ModelSpec
from posecli.networks.detposenet import RawProposals
from posecli.records import CoarsePeaks, Frame, Proposals
from posecli.runtime import place, read_back
from posecli.skeleton import EDGES, NUM_KEYPOINTS
from posecli.stages.batches import Batches

_GRID = 32  # the network halves its input five times
_MAX_PEAKS = 30  # per keypoint

Boxes = tuple[Tensor, Tensor]  # (P, 4) xyxy, image pixels, and (P,) scores in [0, 1]
Pending = Callable[[], list[Proposals]]


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

    def start(self, frames: Sequence[Frame]) -> Pending:
        """Give a device its work; what is returned waits for it.

        It returns one record for each frame, which have pictures, in the frame's own pixels.
        """


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


@dataclass(frozen=True)
class _Sighting:
    """What a network says of B pictures of one size."""

    boxes: Tensor  # (B, P, 4) xyxy, input pixels, best first
    scores: Tensor  # (B, P)
    coarse: tuple[Tensor, ...]  # (B, K, Q, 2) peaks, (B, K, Q) scores, (B, L, Q, Q) limbs; or nothing

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All of it, in the order of `of`."""
        return (self.boxes, self.scores, *self.coarse)

    @staticmethod
    def of(tensors: Sequence[Tensor]) -> _Sighting:
        """Put together what was taken apart."""
        return _Sighting(tensors[0], tensors[1], tuple(tensors[2:]))

    def proposals(self, row: int, config: DetectConfig, image_wh: tuple[int, int], stride: int) -> Proposals:
        """Return what was seen in one of the pictures, of this width and height."""
        factor = _factor(config, image_wh)
        boxes, scores = choose(self.boxes[row] / factor, self.scores[row], config, image_wh=image_wh)
        if not self.coarse:
            return Proposals(boxes, scores)
        peaks, peak_scores, limbs = (tensor[row] for tensor in self.coarse)
        return Proposals(boxes, scores, CoarsePeaks(peaks, peak_scores, limbs, stride / factor))


class Proposer:
    """The proposal network with its preprocessing: boxes and coarse keypoints in one pass.

    Everything up to few numbers a picture, whose count does not depend on the picture, is done on the device, and comes
    from there in one copy.
    """

    def __init__(
        self,
        network: nn.Module,
        spec: ModelSpec,
        config: DetectConfig,
        device: torch.device,
        *,
        min_peak_score: float | None = None,
    ) -> None:
        """Place the network.

        Args:
            network: see `networks`.
            spec: its own.
            config: the thresholds.
            device: where it runs.
            min_peak_score: coarse keypoints are looked for from this score on; None: not at all.
        """
        self.network = place(network, device)
        self.spec, self.config, self.device, self.min_peak_score = spec, config, device, min_peak_score
        self.batches = (Batches("frames", "take a smaller --detector-size, or --device cpu"),)

    def __call__(self, frames: Sequence[Frame]) -> list[Proposals]:
        """Propose people in each frame."""
        return self.start(frames)()

    def start(self, frames: Sequence[Frame]) -> Pending:
        """Let the device propose people in each frame; pictures of one size share a batch."""
        images = pictures(frames)
        groups = defaultdict(list)
        for number, image in enumerate(images):
            groups[image.shape].append(number)
        looks = [look for numbers in groups.values() for look in self._in_batches([images[i] for i in numbers])]
        order = list(chain.from_iterable(groups.values()))  # of the pictures in the looks
        sizes = [(images[number].shape[1], images[number].shape[0]) for number in order]
        reading = read_back([tensor for look in looks for tensor in look.tensors])

        def finish() -> list[Proposals]:
            came = iter(reading())
            seen = [_Sighting.of([next(came) for _ in look.tensors]) for look in looks]
            rows = [(look, row) for look in seen for row in range(len(look.boxes))]
            stride = self.spec.codec.stride
            found = {
                number: look.proposals(row, self.config, size, stride)
                for number, size, (look, row) in zip(order, sizes, rows, strict=True)
            }
            return [found[number] for number in sorted(order)]

        return finish

    def _in_batches(self, images: list[Tensor]) -> list[_Sighting]:
        """Look at pictures of one size."""
        (batches,), count = self.batches, len(images)
        return batches.run(lambda part: self._look(torch.stack(images[part])), count, size=count, device=self.device)

    def _look(self, images: Tensor) -> _Sighting:
        """Look at (B, H, W, 3) uint8 pictures."""
        raw: RawProposals = self.network(self._prepare(images))
        scores, index = raw.logits.float().sigmoid().topk(min(self.config.max_proposals, raw.logits.shape[1]), dim=1)
        boxes = raw.boxes.float().gather(1, index[..., None].expand(-1, -1, 4))
        if self.min_peak_score is None:
            return _Sighting(boxes, scores, ())
        peaks, peak_scores = find_peaks(raw.heatmaps, min_score=self.min_peak_score, max_peaks=_MAX_PEAKS)
        limbs = find_limbs(peaks, peak_scores, raw.pafs.float(), edges=EDGES)
        return _Sighting(boxes, scores, (peaks, peak_scores, limbs))

    def _prepare(self, images: Tensor) -> Tensor:
        """Shrink (B, H, W, 3) uint8 to the input size, pad with black to the grid, normalise: (B, 3, h, w)."""
        factor = _factor(self.config, (images.shape[2], images.shape[1]))
        images = images.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
        size_hw = [max(1, round(side * factor)) for side in images.shape[-2:]]
        # uint8 resizing is many times faster on a CPU, and not to be had elsewhere
        images = images if images.device.type == "cpu" else images.float()
        small = interpolate(images, size_hw, mode="bilinear", antialias=True)
        small = pad(small, (0, -size_hw[1] % _GRID, 0, -size_hw[0] % _GRID))
        return self.spec.normalise(small.float(), white=255)


def _factor(config: DetectConfig, image_wh: tuple[int, int]) -> float:
    """Return the network's input pixels per pixel of a picture of this width and height."""
    return config.detector_size / max(image_wh)


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
        found: list[Boxes] = self.network(placed)
        return found


class JudgedBoxes:
    """Boxes of any source, beside the coarse keypoints of a proposal network for the filter to judge them by."""

    def __init__(self, source: BoxSource, proposer: ProposalSource | None, config: DetectConfig) -> None:
        self.source, self.proposer, self.config = source, proposer, config

    @property
    def batches(self) -> tuple[Batches, ...]:
        """What the detector and the proposal network run in, as far as there are such."""
        own = (self.source.batches,) if isinstance(self.source, Detector) else ()
        return (*own, *(self.proposer.batches if self.proposer else ()))

    def __call__(self, frames: Sequence[Frame]) -> list[Proposals]:
        """Look for boxes and coarse keypoints."""
        return self.start(frames)()

    def start(self, frames: Sequence[Frame]) -> Pending:
        """Look for boxes, and run the proposal network, if there is one: without the filter none is needed."""
        given = self.source(frames)
        known = [frame for frame, boxes in zip(frames, given, strict=True) if boxes is not None]
        pending = self.proposer.start(known) if self.proposer and known else lambda: [_nobody()] * len(known)

        def finish() -> list[Proposals]:
            coarse = iter(pending())
            return [
                _nobody() if boxes is None else self._beside(next(coarse), frame, boxes)
                for frame, boxes in zip(frames, given, strict=True)
            ]

        return finish

    def _beside(self, proposals: Proposals, frame: Frame, boxes: Boxes) -> Proposals:
        found, scores = boxes[0].cpu(), boxes[1].cpu()
        found, scores = choose(found, scores, self.config, image_wh=(frame.width, frame.height))
        return replace(proposals, boxes=found, box_scores=scores)


def _nobody() -> Proposals:
    """Return no boxes and no keypoints."""
    return Proposals(torch.zeros(0, 4), torch.zeros(0), CoarsePeaks.none(NUM_KEYPOINTS, len(EDGES)))


def pictures(frames: Sequence[Frame]) -> list[Tensor]:
    """Return the frames' (H, W, 3) uint8 pictures; all must have one."""
    images = [frame.image for frame in frames if frame.image is not None]
    if len(images) < len(frames):
        raise ValueError("a frame without a picture cannot be looked at")
    return images
