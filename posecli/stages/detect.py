"""Frames to proposals: one pass of the proposal network, boxes unsuppressed, coarse maps beside them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from posecli.config import DetectConfig
from posecli.geometry.boxes import clip
from posecli.networks import ModelSpec
from posecli.networks.detposenet import RawProposals
from posecli.records import Proposals
from posecli.runtime import place

_GRID = 32  # the network halves its input five times


class Proposer:
    """The proposal network with its preprocessing."""

    def __init__(self, network: nn.Module, spec: ModelSpec, config: DetectConfig, device: torch.device) -> None:
        self.network = place(network, device)
        self.spec, self.config, self.device = spec, config, device

    def __call__(self, images: Sequence[Tensor]) -> list[Proposals]:
        """Propose people in each picture.

        Args:
            images: (H, W, 3) uint8 RGB each; pictures of one size share a batch.

        Returns:
            One record a picture, in its own pixels.
        """
        groups = defaultdict(list)
        for number, image in enumerate(images):
            groups[image.shape].append(number)
        found: dict[int, Proposals] = {}
        for (height, width, _), numbers in groups.items():
            factor = self.config.detector_size / max(height, width)
            batch = self._prepare(torch.stack([images[number] for number in numbers]), factor)
            raw = self.network(batch)
            for row, number in enumerate(numbers):
                found[number] = self._read(raw, row, factor, (width, height))
        return [found[number] for number in range(len(images))]

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
        count = min(self.config.max_proposals, len(scores))
        best, index = scores.topk(count)
        index, best = index[best >= self.config.min_box_score], best[best >= self.config.min_box_score]
        boxes = clip(raw.boxes[row, index].float() / factor, width=image_wh[0], height=image_wh[1])
        inside = ((boxes[:, 2:] - boxes[:, :2]) > 1).all(-1)
        return Proposals(
            boxes=boxes[inside],
            box_scores=best[inside],
            heatmaps=raw.heatmaps[row].float(),
            pafs=raw.pafs[row].float(),
            map_scale=self.spec.codec.stride / factor,
        )
