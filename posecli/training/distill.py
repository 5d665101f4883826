"""Heatmaps of a trained network as further targets: what it has learned, beyond the labels that it was given.

Source: CCM section 4.2 distils by pseudo labels (`DatasetConfig.pseudo`); heatmaps as targets are Zhang, Zhu and Ye,
"Fast Human Pose Estimation", CVPR 2019, Eq. (6). Unlike there, the labels' own loss keeps its full weight, and a
keypoint that the teacher does not see is left out: with few data a teacher has blind spots.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from posecli.config import TeacherConfig
from posecli.errors import ConfigError
from posecli.geometry.affine import compose, invert, warp
from posecli.geometry.heatmaps import HeatmapCodec
from posecli.networks import ModelSpec
from posecli.runtime import half_precision, place


class Teacher:
    """A trained refiner that sees the crops that a run trains on; it does not learn.

    Args:
        network: in evaluation mode.
        spec: its preprocessing and its cells.
        config: see there.
        device: where the run trains.
        half: compute in bfloat16.
    """

    def __init__(
        self, network: nn.Module, spec: ModelSpec, config: TeacherConfig, device: torch.device, *, half: bool = False
    ) -> None:
        if spec.takes_prior:
            raise ConfigError(f"{spec.name} refines poses: it cannot teach heatmaps of crops")
        self.network = place(network.eval().requires_grad_(False), device)
        self.spec, self.config, self.device, self.half = spec, config, device, half

    @torch.no_grad()
    def heatmaps(self, images: Tensor, codec: HeatmapCodec) -> Tensor:
        """Answer for crops on the cells of a run's network.

        Args:
            images: (N, 3, H, W) crops as augmented, RGB in [0, 1]; brought to the size that the teacher knows.
            codec: of the run's network.

        Returns:
            (N, K, H / stride, W / stride) in [0, 1].
        """
        crop_hw = (images.shape[-2], images.shape[-1])
        own_hw = self.spec.input_hw
        seen = images
        if own_hw != crop_hw:
            seen = interpolate(images, own_hw, mode="bilinear", align_corners=False, antialias=True)
        with half_precision(self.device, enabled=self.half):
            answer = self.network(self.spec.normalise(seen))[-1]
        heatmaps = self.spec.codec.activate(answer).clamp(0, 1)
        grow = images.new_tensor((own_hw[1] / crop_hw[1], own_hw[0] / crop_hw[0]))  # teacher's pixels a pixel, x y
        scale = torch.cat((grow.diag(), (grow / 2 - 0.5)[:, None]), dim=1)
        grid_hw = (crop_hw[0] // codec.stride, crop_hw[1] // codec.stride)
        cells = compose(scale, codec.cell_matrix(grid_hw, like=images))
        own_cells = self.spec.codec.cell_matrix((heatmaps.shape[-2], heatmaps.shape[-1]), like=images)
        cells = compose(invert(own_cells), cells)  # the run's cells to the teacher's
        return warp(heatmaps, cells.expand(len(images), 2, 3), crop_hw=grid_hw)
