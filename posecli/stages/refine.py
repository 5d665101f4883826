"""Boxes to keypoints: crops of several frames in one batch through the refiner, decoded into image pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from posecli.config import RefineConfig
from posecli.geometry.affine import crop_matrices, transform_points, warp
from posecli.geometry.boxes import fit_aspect
from posecli.geometry.heatmaps import flip_merge
from posecli.networks import ModelSpec
from posecli.runtime import place
from posecli.skeleton import MIRROR


def cut_crops(
    image: Tensor, matrices: Tensor, *, crop_hw: tuple[int, int], border: tuple[float, float, float] = (0, 0, 0)
) -> Tensor:
    """Cut crops from one picture.

    Only the part of the picture that a crop sees becomes floating point: the cost follows the people, not the picture.

    Args:
        image: (H, W, 3) uint8.
        matrices: (N, 2, 3) crop pixels to image pixels, without rotation.
        crop_hw: height and width of the crops.
        border: colour outside the picture, RGB in [0, 1].

    Returns:
        (N, 3, h, w) float in [0, 255].
    """
    height, width = image.shape[:2]
    last = matrices.new_tensor(((0.0, 0.0), (crop_hw[1] - 1.0, crop_hw[0] - 1.0)))
    corners = transform_points(last.expand(len(matrices), 2, 2), matrices)  # (N, 2, 2) first and last pixel
    low = corners[:, 0].floor().sub(1).clamp(min=0).long().tolist()
    high = corners[:, 1].ceil().add(2).long().tolist()
    colour = 255 * matrices.new_tensor(border)[:, None, None]
    crops = []
    for (left, top), (right, bottom), matrix in zip(low, high, matrices, strict=True):
        left, top = min(left, width - 1), min(top, height - 1)  # noqa: PLW2901 - a box beside the picture is all border
        part = image[top : max(bottom, top + 1), left : max(right, left + 1)].permute(2, 0, 1)[None].float()
        shift = matrix.new_tensor(((0, 0, left), (0, 0, top)))
        crops.append(warp(part - colour, (matrix - shift)[None], crop_hw=crop_hw) + colour)
    return torch.cat(crops)


class Refiner:
    """The refinement network with its preprocessing and decoding."""

    def __init__(self, network: nn.Module, spec: ModelSpec, config: RefineConfig, device: torch.device) -> None:
        self.network = place(network, device)
        self.spec, self.config, self.device = spec, config, device

    def __call__(self, images: Sequence[Tensor], boxes: Sequence[Tensor], *, batch: int) -> list[tuple[Tensor, Tensor]]:
        """Find the keypoints of the people in `boxes`.

        Args:
            images: (H, W, 3) uint8 RGB each.
            boxes: (N_i, 4) xyxy, image pixels, of each picture.
            batch: crops that go through the network at once.

        Returns:
            For each picture (N_i, K, 2) points in image pixels and (N_i, K) scores in [0, 1].
        """
        height, width = self.spec.input_hw
        counts = [len(rows) for rows in boxes]
        if not sum(counts):
            keypoints = len(MIRROR)
            return [(torch.zeros(0, keypoints, 2), torch.zeros(0, keypoints)) for _ in images]
        windows = fit_aspect(torch.cat(list(boxes)).float(), aspect=width / height, margin=self.spec.margin)
        matrices = crop_matrices(windows, crop_hw=(height, width))
        crops = torch.cat(
            [
                cut_crops(image.to(self.device), rows, crop_hw=(height, width), border=self.spec.border)
                for image, rows in zip(images, matrices.split(counts), strict=True)
                if len(rows)
            ]
        )
        decoded = [self.spec.codec.decode(self.heatmaps(part)) for part in crops.split(batch)]
        points = transform_points(torch.cat([part[0] for part in decoded]), matrices)
        scores = torch.cat([part[1] for part in decoded])
        return list(zip(points.split(counts), scores.split(counts), strict=True))

    def heatmaps(self, crops: Tensor) -> Tensor:
        """Return the last stage's (N, K, h/s, w/s) heatmaps of (N, 3, h, w) crops in [0, 255]."""
        inputs = self.spec.normalise(crops / 255)
        heatmaps = self.spec.codec.activate(self.network(inputs)[-1])
        if self.config.flip_test:
            mirrored = self.network(inputs.flip(-1).contiguous(memory_format=torch.channels_last))[-1]
            heatmaps = flip_merge(
                heatmaps, self.spec.codec.activate(mirrored), MIRROR, shift=self.spec.codec.flip_shift
            )
        return heatmaps
