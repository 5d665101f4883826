"""Boxes to keypoints: crops of several frames in one batch through the refiner, decoded into image pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from posecli.config import RefineConfig
from posecli.errors import ConfigError
from posecli.geometry.affine import compose, crop_matrices, invert, transform_points, warp
from posecli.geometry.atlas import Atlas
from posecli.geometry.boxes import fit_aspect
from posecli.geometry.constants import indexes
from posecli.geometry.heatmaps import flip_merge
from posecli.networks import ModelSpec
from posecli.runtime import has_own_memory, place, read_back, send
from posecli.skeleton import MIRROR
from posecli.stages.batches import Batches

Found = tuple[Tensor, Tensor]  # (N, K, 2) points in image pixels, (N, K) scores in [0, 1]

_CODEC_FIELDS = ("subpixel", "blur", "blur_sigma", "flip_shift")  # of the codec, which a RefineConfig may override
_OPENCVS_LONGEST = (1 << 15) - 1  # pixels of a side that its warping takes before 5.0


def cut_crops(
    image: Tensor, matrices: Tensor, *, crop_hw: tuple[int, int], border: tuple[float, float, float] = (0, 0, 0)
) -> Tensor:
    """Cut crops from one picture.

    OpenCV does it in two thirds of `affine.warp`'s time. Only the part of the picture that a crop sees becomes floating
    point: the cost follows the people, not the picture.

    Args:
        image: (H, W, 3) uint8.
        matrices: (N, 2, 3) crop pixels to image pixels.
        crop_hw: height and width of the crops.
        border: colour outside the picture, RGB in [0, 1].

    Returns:
        (N, 3, h, w) float in [0, 255], channels last in memory.
    """
    height, width = image.shape[:2]
    right, bottom = crop_hw[1] - 1.0, crop_hw[0] - 1.0
    corners = matrices.new_tensor(((0.0, 0.0), (right, 0.0), (0.0, bottom), (right, bottom)))
    corners = transform_points(corners.expand(len(matrices), 4, 2), matrices)  # (N, 4, 2)
    low = corners.amin(dim=1).floor().sub(1).clamp(min=0).minimum(corners.new_tensor((width - 1, height - 1)))
    high = torch.maximum(corners.amax(dim=1).ceil() + 2, low + 1)  # a box beside the picture is all border
    colour = [255 * value for value in border]
    crops = np.empty((len(matrices), *crop_hw, 3), np.float32)
    for crop, (left, top), (right, bottom), matrix in zip(
        crops, low.long().tolist(), high.long().tolist(), matrices.double().numpy(), strict=True
    ):
        step = 1 + max(right - left, bottom - top) // _OPENCVS_LONGEST
        cv2.warpAffine(
            image[top:bottom:step, left:right:step].float().numpy(),
            (matrix - ((0, 0, left), (0, 0, top))) / step,
            dsize=crop_hw[::-1],
            dst=crop,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderValue=colour,
        )
    return torch.from_numpy(crops).permute(0, 3, 1, 2)


class Group(Protocol):
    """A batch of people whose crops can be cut."""

    @property
    def boxes(self) -> Tensor:
        """(N, 4) xyxy, image pixels."""

    def crops(self, matrices: Tensor, spec: ModelSpec) -> Tensor:
        """Cut (N, 3, h, w) crops in [0, 255] as a network wants them."""


@dataclass(frozen=True)
class People:
    """People on a CPU: whose crops are cut from which picture."""

    images: Sequence[Tensor]  # (H, W, 3) uint8 each
    owners: Sequence[int]  # per person, the index of its picture; ascending
    boxes: Tensor  # (N, 4) xyxy, image pixels

    def crops(self, matrices: Tensor, spec: ModelSpec) -> Tensor:
        """Cut (N, 3, h, w) crops in [0, 255] as a network wants them."""
        counts = [len(list(rows)) for _, rows in groupby(self.owners)]
        owners = [owner for owner, _ in groupby(self.owners)]
        return torch.cat(
            [
                cut_crops(self.images[owner], rows, crop_hw=spec.input_hw, border=spec.border)
                for owner, rows in zip(owners, matrices.split(counts), strict=True)
            ]
        )


@dataclass(frozen=True)
class PeopleInAtlas:
    """People on a device of their own: all crops of all pictures are cut at once."""

    atlas: Atlas
    places: Tensor  # (N, 3), per person, the row of the atlas' places of its picture
    boxes: Tensor  # (N, 4) xyxy, image pixels

    def crops(self, matrices: Tensor, spec: ModelSpec) -> Tensor:
        """Cut (N, 3, h, w) crops in [0, 255] as a network wants them."""
        return self.atlas.crops(self.places, matrices, crop_hw=spec.input_hw, border=spec.border)


@dataclass(frozen=True)
class _View:
    """One way to look at a person: a network, and how its crop is cut."""

    network: nn.Module
    spec: ModelSpec
    scale: float = 1.0  # of the spec's margin
    rotation: float = 0.0  # radians

    def matrices(self, boxes: Tensor) -> Tensor:
        """Return the (N, 2, 3) matrices from this view's crop pixels to image pixels."""
        height, width = self.spec.input_hw
        margin_x, margin_y = (self.scale * margin for margin in self.spec.margin)
        windows = fit_aspect(boxes, aspect=width / height, margin=(margin_x, margin_y))
        rotation = windows.new_full((len(boxes),), self.rotation) if self.rotation else None
        return crop_matrices(windows, crop_hw=self.spec.input_hw, rotation=rotation, half_pixel=self.spec.half_pixel)

    def cell_matrices(self, boxes: Tensor, heatmap_hw: tuple[int, int]) -> Tensor:
        """Return the (N, 2, 3) matrices from this view's heatmap cells to image pixels."""
        return compose(self.matrices(boxes), self.spec.codec.cell_matrix(heatmap_hw, like=boxes))


class Refiner:
    """The refinement networks with their preprocessing, averaging and decoding.

    Heatmaps are averaged on one grid: the cells of the first network's crop at its first scale and rotation. Those of
    every other view are sampled where these cells lie in the picture, and count only where they have cells themselves.
    """

    def __init__(
        self,
        members: Sequence[tuple[nn.Module, ModelSpec]],
        config: RefineConfig,
        device: torch.device,
        *,
        posefix: tuple[nn.Module, ModelSpec] | None = None,
    ) -> None:
        """Place the networks.

        Args:
            members: each network with its spec, in the order of `config.members`; none if only `fix` is wanted.
            config: see there; `self.config` is the same with what it left to the networks filled in.
            device: where the networks run.
            posefix: a network that takes poses, and its spec.

        Raises:
            ConfigError: a network takes poses and is no posefix, or the other way around.
        """
        for _, spec in members:
            if spec.takes_prior:
                raise ConfigError(f"{spec.name} refines the poses of another network: name it with --posefix")
        if posefix is not None and not posefix[1].takes_prior:
            raise ConfigError(f"{posefix[1].name} takes no poses to refine: name it with --refiner")
        own = {name: value for name in _CODEC_FIELDS if (value := getattr(config, name)) is not None}
        members = [
            (place(network, device), replace(spec, codec=replace(spec.codec, **own))) for network, spec in members
        ]
        self.device = device
        self.spec = members[0][1] if members or posefix is None else posefix[1]  # whose grid and decoding count
        used = {name: getattr(self.spec.codec, name) for name in _CODEC_FIELDS}
        if len({spec.codec.flip_shift for _, spec in members}) > 1:
            used["flip_shift"] = None  # each its own
        self.config = replace(config, **used)
        self._views = [
            _View(network, spec, scale, math.radians(rotation))
            for network, spec in members
            for scale in config.scales
            for rotation in config.rotations
        ]
        self._posefix = None if posefix is None else _View(place(posefix[0], device), posefix[1])
        self.batches = Batches("crops", "take a smaller --refiner, or --device cpu")

    def __call__(self, images: Sequence[Tensor], boxes: Sequence[Tensor], *, batch: int) -> list[Found]:
        """Find the keypoints of the people in `boxes`; see `start`."""
        return self.start(images, boxes, batch=batch)()

    def start(self, images: Sequence[Tensor], boxes: Sequence[Tensor], *, batch: int) -> Callable[[], list[Found]]:
        """Let the device find the keypoints of the people in `boxes`.

        Args:
            images: (H, W, 3) uint8 RGB each, here or on the device.
            boxes: (N_i, 4) xyxy, image pixels, of each picture, on the CPU.
            batch: crops that go through a network at once.

        Returns:
            What waits for the device. It returns, on the CPU, for each picture (N_i, K, 2) points in image pixels and
            (N_i, K) scores in [0, 1].

        Raises:
            DeviceError: the device's memory does not even do for one crop.
        """
        counts = [len(rows) for rows in boxes]
        if not sum(counts):
            keypoints = len(MIRROR)
            return lambda: [(torch.zeros(0, keypoints, 2), torch.zeros(0, keypoints)) for _ in images]
        group = self.gather(images, boxes)
        parts = self.batches.run(lambda part: self._look(group(part)), sum(counts), size=batch, device=self.device)
        reading = read_back([torch.cat(column) for column in zip(*parts, strict=True)])

        def finish() -> list[Found]:
            points, scores = (column.split(counts) for column in reading())
            return list(zip(points, scores, strict=True))

        return finish

    def gather(self, images: Sequence[Tensor], boxes: Sequence[Tensor]) -> Callable[[slice], Group]:
        """Bring pictures and boxes, as for `start`, to the device; return what makes batches of the people."""
        owners = [index for index, rows in enumerate(boxes) for _ in rows]
        people = torch.cat(list(boxes)).float()
        if not has_own_memory(self.device):
            return lambda part: People(images, owners[part], people[part])
        rank = {owner: place for place, owner in enumerate(dict.fromkeys(owners))}  # among the pictures with people
        atlas = Atlas.of([images[owner].to(self.device) for owner in rank])
        places = atlas.places[torch.tensor([rank[owner] for owner in owners])]
        rows = send(torch.cat((people, places), dim=1), self.device)  # (N, 7)
        return lambda part: PeopleInAtlas(atlas, rows[part, 4:], rows[part, :4])

    def _look(self, people: Group) -> Found:
        """Return (N, K, 2) points in image pixels and (N, K) scores of one batch."""
        points, scores = self.read(self.heatmaps(people), people)
        if self._posefix is not None:
            seen = torch.ones(points.shape[:2], dtype=torch.bool, device=self.device)
            points = self.fix(points, seen, people)
        return points, scores

    def heatmaps(self, people: Group) -> Tensor:
        """Return the (N, K, h, w) heatmaps of people, averaged over all views."""
        first, *others = self._views
        total = self._answer(first, people)
        if not others:
            return total
        weight, grid_hw = torch.ones_like(total[:, :1]), (total.shape[-2], total.shape[-1])
        cells = first.cell_matrices(people.boxes, grid_hw)
        for view in others:
            answer = self._answer(view, people)
            own_cells = view.cell_matrices(people.boxes, (answer.shape[-2], answer.shape[-1]))
            there = compose(invert(own_cells), cells)  # from the first view's cells to this one's
            total += warp(answer, there, crop_hw=grid_hw)
            weight += warp(torch.ones_like(answer[:, :1]), there, crop_hw=grid_hw)
        return total / weight

    def read(self, heatmaps: Tensor, people: Group) -> tuple[Tensor, Tensor]:
        """Decode heatmaps into (N, K, 2) points in image pixels and (N, K) scores."""
        points, scores = self.spec.codec.decode(heatmaps)
        return transform_points(points, self._views[0].matrices(people.boxes)), scores

    def fix(self, points: Tensor, seen: Tensor, people: Group) -> Tensor:
        """Let the posefix network refine poses.

        Args:
            points: (N, K, 2) in image pixels.
            seen: (N, K) bool, which of them there are.
            people: whose they are.

        Returns:
            (N, K, 2) in image pixels.
        """
        if self._posefix is None:
            raise ValueError("a refiner without posefix cannot fix poses")
        matrices = self._posefix.matrices(people.boxes)
        prior = self._posefix.network.draw_prior(  # type: ignore[operator]
            transform_points(points, invert(matrices)), seen, crop_hw=self._posefix.spec.input_hw
        )
        answer = self._answer(self._posefix, people, prior)
        return transform_points(self._posefix.spec.codec.decode(answer)[0], matrices)

    def _answer(self, view: _View, people: Group, *prior: Tensor) -> Tensor:
        """Return one view's (N, K, h, w) heatmaps; a network that takes poses gets them as its prior."""
        spec = view.spec
        inputs = [spec.normalise(people.crops(view.matrices(people.boxes), spec), white=255), *prior]
        answer = spec.codec.activate(view.network(*inputs)[-1])
        if not self.config.flip_test:
            return answer
        inputs[1:] = [prior.index_select(1, indexes(MIRROR, like=prior)) for prior in inputs[1:]]
        flipped = [item.flip(-1).contiguous(memory_format=torch.channels_last) for item in inputs]
        mirrored = spec.codec.activate(view.network(*flipped)[-1])
        return flip_merge(answer, mirrored, MIRROR, shift=spec.codec.flip_shift)
