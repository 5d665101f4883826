"""What differs between training a refiner and a proposer: the batch and its loss. The loop knows neither."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from posecli.config import TeacherConfig, TrainConfig
from posecli.errors import ConfigError
from posecli.geometry.affine import crop_matrices, invert, transform_points, warp
from posecli.geometry.boxes import area
from posecli.geometry.heatmaps import HeatmapCodec
from posecli.geometry.paf import encode as encode_pafs
from posecli.networks import ModelSpec, get_spec
from posecli.networks.detposenet import RawProposals, cell_centres
from posecli.skeleton import EDGES, MIRROR
from posecli.training.augment import (
    CropAugment,
    PictureAugment,
    blend,
    chance,
    change_colour,
    half_body_boxes,
    jitter_boxes,
    mask_keypoints,
    mirror_x,
)
from posecli.training.detection import People, two_stage_loss
from posecli.training.distill import Teacher
from posecli.training.disturb import TruePoses, disturb
from posecli.training.losses import detection_loss, heatmap_loss, map_loss, place_loss, teacher_loss
from posecli.training.samples import Crops, Pictures, on_device
from posecli.training.views import draw_views

Batch = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Aids:
    """What a run takes beside its samples and its start weights, loaded and ready: see `training.aids`."""

    teacher: Teacher | None = None
    mistakes: Tensor | None = None  # (K, 4) rates, see `disturb.possible_mistakes`


class Task(Protocol):
    """One way to train: where batches come from and what they cost."""

    @property
    def datasets(self) -> Tensor:
        """Say of which of the run's datasets each of the M samples is, (M,) int64."""

    def batch(self, index: Tensor, generator: torch.Generator, hw: tuple[int, int]) -> Batch:
        """Augment the samples `index` into one batch on the device, its `images` normalised."""

    def losses(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return named scalars whose sum is to be minimised."""


def run_spec(config: TrainConfig) -> ModelSpec:
    """Return what a run trains: the zoo's network as the configuration changes it.

    A refiner is trained and measured at one size; a proposer takes any, and is measured at its own.

    Raises:
        ConfigError: no such network, or no such option of it.
    """
    spec = get_spec(config.network)
    return spec.with_options(config.network_options, input_hw=config.input_hw if spec.kind == "refiner" else None)


def make_task(
    config: TrainConfig,
    spec: ModelSpec,
    samples: Crops | Pictures,
    device: torch.device,
    *,
    aids: Aids | None = None,
) -> Task:
    """Bring samples, a network, and what else the configuration asks for together.

    Raises:
        ConfigError: an augmentation that does not exist, samples for another kind of network, or aids that are not
            there or of no use.
    """
    aids = aids or Aids()
    if config.mistakes and not spec.takes_prior:
        raise ConfigError(f"{spec.name} takes no poses: mistakes are of use to a posefix network alone")
    if config.mistakes and aids.mistakes is None:
        raise ConfigError("the configuration names mistakes, which a pack does not bring: posecli train reads them")
    if config.teacher and (spec.kind != "refiner" or spec.codec.activation != "none"):
        raise ConfigError(f"{spec.name} gives no heatmaps that a [teacher] could teach")
    if config.teacher and aids.teacher is None:
        raise ConfigError("the configuration has a [teacher], which a pack does not bring: posecli train loads it")
    if isinstance(samples, Crops) != (spec.kind == "refiner"):
        raise ConfigError(f"{spec.name} is a {spec.kind}: it does not train on {type(samples).__name__.lower()}")
    if isinstance(samples, Crops):
        return RefinerTask(config, spec, samples, _augment(CropAugment, config, spec), device, aids)
    return ProposerTask(config, spec, samples, _augment(PictureAugment, config, spec), device)


_Augment = TypeVar("_Augment", CropAugment, PictureAugment)


def _augment(kind: type[_Augment], config: TrainConfig, spec: ModelSpec) -> _Augment:
    known = {item.name for item in fields(kind)}
    if unknown := config.augment.keys() - known:
        found = f"unknown augmentation {min(unknown)!r} of a {spec.kind}"
        raise ConfigError(f"{found}; choose from {', '.join(sorted(known))}")
    return kind(**config.augment)


class RefinerTask:
    """Crops of people, heatmaps at every scale."""

    def __init__(
        self,
        config: TrainConfig,
        spec: ModelSpec,
        crops: Crops,
        augment: CropAugment,
        device: torch.device,
        aids: Aids | None = None,
    ) -> None:
        self.loss, self.spec, self.augment, self.device = config.loss, spec, augment, device
        self.crops, aids = on_device(crops, device), aids or Aids()
        self.teacher, self.mistakes = aids.teacher, aids.mistakes
        self.mirror = torch.tensor(MIRROR, device=device)

    @property
    def datasets(self) -> Tensor:
        """See `Crops`."""
        return self.crops.datasets

    def batch(self, index: Tensor, generator: torch.Generator, hw: tuple[int, int]) -> Batch:
        """Cut crops from canvases with random windows, then colour and keypoint masking."""
        index = index.to(self.device)
        crops, augment = self.crops, self.augment
        points, weights, present = crops.points[index], crops.weights[index], crops.present[index]
        near, near_labelled = crops.near_points[index], crops.near_labelled[index]
        boxes = half_body_boxes(crops.boxes[index], points, present, generator, augment.half_body)
        windows, rotation = jitter_boxes(boxes, generator, augment, aspect=hw[1] / hw[0], margin=self.spec.margin)
        matrices = crop_matrices(windows, crop_hw=hw, rotation=rotation)
        flipped = chance(generator, len(index), augment.flip, boxes)
        matrices = mirror_x(matrices, flipped, hw[1])
        images = warp(crops.canvases[index].float().div_(255), matrices, crop_hw=hw)
        to_crop = invert(matrices)
        points, near = transform_points(points, to_crop), transform_points(near, to_crop)
        points, weights, present, near, near_labelled = (
            torch.where(flipped.view(-1, *[1] * (value.dim() - 1)), value[:, self.mirror], value)
            for value in (points, weights, present, near, near_labelled)
        )
        inside = ((points >= 0) & (points <= points.new_tensor((hw[1] - 1, hw[0] - 1)))).all(-1)
        weights = weights * (inside | ~present)
        images = change_colour(images, generator, strength=augment.colour, grey=augment.grey)
        if augment.mask:
            images = mask_keypoints(images, points, present & inside, generator, rate=augment.mask)
        if augment.blend:
            images = blend(images, generator, rate=augment.blend)
        batch = {"images": self.spec.normalise(images), "points": points, "weights": weights, "present": present}
        if self.spec.takes_prior:
            people = TruePoses(points, present, near, near_labelled, area(crops.boxes[index]) * _scale(to_crop))
            batch["prior"] = disturb(people, generator, self.mistakes)
        if self.teacher:
            taught = math.ceil(self.teacher.config.share * len(images))  # the order is random: any of them
            batch["taught"] = self.teacher.heatmaps(images[:taught], self.spec.codec)
        return batch

    def losses(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Multi-scale supervision, Eq. (1): every stage against the heatmaps of its own scale."""
        images = batch["images"]
        inputs = [images]
        if self.spec.takes_prior:
            crop_hw = (images.shape[-2], images.shape[-1])
            bare: Any = getattr(network, "module", network)  # several processes wrap it
            inputs.append(bare.draw_prior(batch["prior"], batch["present"], crop_hw=crop_hw))
        stages, total = network(*inputs), {}
        height = images.shape[-2]
        for number, heatmaps in enumerate(stages):
            last = number == len(stages) - 1
            stride = height // heatmaps.shape[-2]
            codec = self._codec_at(stride, number - len(stages))
            map_hw = (heatmaps.shape[-2], heatmaps.shape[-1])
            if codec.activation == "softmax":
                cells = codec.to_cells(batch["points"], heatmap_hw=map_hw)
                total[f"stage{number}"] = place_loss(heatmaps.float(), cells, batch["weights"] * batch["present"])
                continue
            target = codec.encode(batch["points"], heatmap_hw=map_hw)
            target = target * batch["present"][..., None, None]
            loss = heatmap_loss(
                heatmaps.float() / codec.peak,
                target,
                batch["weights"],
                structure=self.loss.structure,
                location=self.loss.location,
                top=self.loss.hardest if last else 0,
            )
            total[f"stage{number}"] = loss if last else self.loss.coarse_scale * loss
        if self.teacher:
            total["teacher"] = self._teacher_loss(stages[-1], batch, self.teacher.config)
        return total

    def _teacher_loss(self, answer: Tensor, batch: Batch, config: TeacherConfig) -> Tensor:
        """Compare the answer with the teacher's, except where nobody is known to be."""
        taught = batch["taught"]
        count = len(taught)
        nobody = (batch["weights"][:count] > 0) & ~batch["present"][:count]
        sure = (taught.amax(dim=(-2, -1)) >= config.min_score) & ~nobody
        heatmaps = answer[:count].float() / self.spec.codec.peak
        return config.weight * teacher_loss(heatmaps, taught, sure, location=config.location)

    def _codec_at(self, stride: int, number: int) -> HeatmapCodec:
        """Give the convention of output `number`, coarse to fine: -1 is the last.

        Where the spec says nothing, coarser scales get a narrower Gaussian in cells, which is a wider one in pixels.
        """
        own, sigmas = self.spec.codec, self.spec.target_sigmas
        if not self.loss.coarse_to_fine:
            last = sigmas[-1] if sigmas else own.heatmap_sigma
            return replace(own, stride=stride, heatmap_sigma=last * own.stride / stride)
        if sigmas:
            return replace(own, stride=stride, heatmap_sigma=sigmas[max(number, -len(sigmas))])
        sigma = max(1.0, own.heatmap_sigma * (own.stride / stride) ** 0.5)
        return replace(own, stride=stride, heatmap_sigma=sigma)


class ProposerTask:
    """Whole pictures: boxes, heatmaps and PAFs."""

    def __init__(
        self, config: TrainConfig, spec: ModelSpec, pictures: Pictures, augment: PictureAugment, device: torch.device
    ) -> None:
        self.loss, self.spec, self.augment, self.device = config.loss, spec, augment, device
        self.pictures = on_device(pictures, device)

    @property
    def datasets(self) -> Tensor:
        """See `Pictures`."""
        return self.pictures.datasets

    def batch(self, index: Tensor, generator: torch.Generator, hw: tuple[int, int]) -> Batch:
        """Show windows of the pictures, or of several in one, see `draw_views`."""
        views = draw_views(self.pictures, index.to(self.device), generator, self.augment, hw)
        images = change_colour(views.images, generator, strength=self.augment.colour, grey=self.augment.grey)
        return {"images": self.spec.normalise(images), **views.labels()}

    def losses(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """L_det + L_kpt of section III-A."""
        raw: RawProposals = network(batch["images"])
        found = self._two_stages(raw, batch) if raw.regions else self._one_stage(raw, batch)
        heatmaps, pafs, mask = self._map_targets(batch, (raw.heatmaps.shape[-2], raw.heatmaps.shape[-1]))
        return {
            **{name: loss * self.loss.box if name.endswith("box") else loss for name, loss in found.items()},
            "heatmaps": self.loss.heatmaps * map_loss(raw.heatmaps.float(), heatmaps, _seen(mask, heatmaps)),
            "pafs": self.loss.pafs * map_loss(raw.pafs.float(), pafs, _seen(mask, pafs)),
        }

    def _one_stage(self, raw: RawProposals, batch: Batch) -> dict[str, Tensor]:
        hw = (batch["images"].shape[-2], batch["images"].shape[-1])
        cells = cell_centres(*hw, device=batch["images"].device)
        ignore = _inside_any(cells[0], batch["boxes"], batch["unknown"]) | ~batch["complete"][:, None]
        score, box = detection_loss(raw, batch["boxes"], batch["valid"], ignore, cells)
        return {"score": score, "box": box}

    def _two_stages(self, raw: RawProposals, batch: Batch) -> dict[str, Tensor]:
        people = People(batch["boxes"], batch["valid"], batch["unknown"], batch["complete"])
        return two_stage_loss(raw, people)

    def _map_targets(self, batch: Batch, map_hw: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        """Draw heatmaps (B, K, h, w), PAFs (B, 2 L, h, w) and the (B, 1, h, w) cells whose truth is known."""
        codec, weights = self.spec.codec, batch["weights"]
        heatmaps = torch.stack(
            [
                (codec.encode(points, heatmap_hw=map_hw) * (weight > 0)[..., None, None]).amax(0)
                for points, weight in zip(batch["points"], weights, strict=True)
            ]
        )
        points = codec.to_cells(batch["points"], heatmap_hw=map_hw)
        pafs = encode_pafs(points, weights > 0, edges=EDGES, map_hw=map_hw)
        y = torch.arange(map_hw[0], device=weights.device) * codec.stride + codec.stride / 2
        x = torch.arange(map_hw[1], device=weights.device) * codec.stride + codec.stride / 2
        cells = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).view(-1, 2)
        # people (or crowds) without labelled keypoints: their cells say nothing
        unlabelled = (batch["valid"] | batch["unknown"]) & (weights.sum(-1) == 0)
        unknown = _inside_any(cells, batch["boxes"], unlabelled) | ~batch["complete"][:, None]
        return heatmaps, pafs, (~unknown).view(-1, 1, *map_hw).float()


def _inside_any(points: Tensor, boxes: Tensor, active: Tensor) -> Tensor:
    """Return (B, A) bool: point a of (A, 2) lies in one of the active boxes (B, G, 4) of row b."""
    inside = (points[:, None] > boxes[:, None, :, :2]) & (points[:, None] < boxes[:, None, :, 2:])
    return (inside.all(-1) & active[:, None]).any(-1)


def _seen(mask: Tensor, target: Tensor) -> Tensor:
    """A cell with a drawn target is known even where the rest is not."""
    return torch.maximum(mask, (target.abs() > 0.05).to(mask))


def _scale(matrices: Tensor) -> Tensor:
    """Return how (N, 2, 3) matrices change areas, (N,)."""
    return (matrices[:, 0, 0] * matrices[:, 1, 1] - matrices[:, 0, 1] * matrices[:, 1, 0]).abs()
