"""COCO folders decoded once into memory, as the samples that a task trains on."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from posecli.config import DatasetConfig, ReadConfig, TrainConfig
from posecli.errors import InputError
from posecli.geometry.affine import crop_matrices, invert, transform_points, warp
from posecli.geometry.boxes import fit_aspect, pairwise_iou, xywh_to_xyxy
from posecli.media.checked_json import Record
from posecli.media.sources import open_source
from posecli.networks import ModelSpec
from posecli.skeleton import NUM_KEYPOINTS
from posecli.training.labels import Labels, read_boxes, read_labels
from posecli.training.samples import Canvases, Crops, Pictures, mapped_canvases

_HELD_OUT = (0, 3, 6)  # of each ten pictures in name order
_CONTEXT = 1.5  # a canvas shows this much more than the crop, so that a crop can be shifted, turned and zoomed out


def read_rgb(path: Path) -> Tensor:
    """Read a picture as (3, H, W) uint8 RGB.

    Raises:
        InputError: it is missing or no picture.
    """
    data = np.fromfile(path, dtype=np.uint8) if path.is_file() else np.empty(0, dtype=np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    if image is None:
        raise InputError(f"{path}: missing, or not a picture that OpenCV can read")
    return torch.from_numpy(np.ascontiguousarray(image[..., ::-1])).permute(2, 0, 1)


def picture_paths(folder: Path, *, hold_out: bool, held_out: bool = False) -> list[Path]:
    """List a folder's pictures in name order, without the held-out ones, or only those."""
    names = sorted(path for path in folder.iterdir() if path.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp"})
    if not names:
        raise InputError(f"{folder}: no pictures in it (.jpg, .png, .webp)")
    if not hold_out:
        return names
    return [path for index, path in enumerate(names) if (index % 10 in _HELD_OUT) == held_out]


def pictures_of(root: Path, config: DatasetConfig, images: Collection[Record]) -> Iterator[tuple[Record, Tensor]]:
    """Yield some of a dataset's images, each with its picture, (3, H, W) uint8 RGB.

    Args:
        root: what the dataset's paths are relative to.
        config: `images` is a folder, or a video whose frames `frame_index` counts.
        images: of the COCO file.

    Raises:
        InputError: a picture is missing or unreadable, or the video another one.
    """
    path = root / config.images
    if not path.is_file():
        yield from ((image, read_rgb(path / image["file_name"])) for image in images)
        return
    wanted = {image.get("frame_index"): image for image in images}
    with open_source(path, ReadConfig(stride=config.every)) as frames:
        for frame in frames:
            image = wanted.get(frame.index)
            if image is None or frame.image is None:
                continue
            if (image.get("width"), image.get("height")) != (frame.width, frame.height):
                said = f"{image.get('width')}x{image.get('height')}"
                raise InputError(f"{path}: frames of {frame.width}x{frame.height}, but {config.pseudo} says {said}")
            yield image, frame.image.permute(2, 0, 1)


def person_labels(
    annotation: dict[str, Any], guess: np.ndarray | None, config: DatasetConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Return one annotation's (K, 2) points in image pixels and (K,) weights.

    People's labels weigh 1; where they are missing, a good guess of another network weighs `pseudo_weight`.
    """
    labels = np.array(annotation.get("keypoints") or [0] * 3 * NUM_KEYPOINTS, np.float32).reshape(-1, 3)
    weights = (labels[:, 2] > 0).astype(np.float32)
    points = labels[:, :2]
    if guess is not None:
        fill = (weights == 0) & (guess[:, 2] >= config.min_pseudo_score)
        points = np.where(fill[:, None], guess[:, :2], points)
        weights = np.where(fill, config.pseudo_weight, weights)
    return points, weights.astype(np.float32)


def _canvas(image: Tensor, box: Tensor, crop_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Cut a person with context: the (3, H, W) uint8 canvas and its (1, 2, 3) image-to-canvas matrix."""
    size_hw = (round(crop_hw[0] * _CONTEXT), round(crop_hw[1] * _CONTEXT))
    window = fit_aspect(box[None], aspect=crop_hw[1] / crop_hw[0], margin=(1.25 * _CONTEXT,) * 2)
    matrix = crop_matrices(window, crop_hw=size_hw)
    canvas = warp(image[None].float(), matrix, crop_hw=size_hw)[0]
    return canvas.round().to(torch.uint8), invert(matrix)


@dataclass(frozen=True)
class _Labels:
    """One person in image pixels."""

    points: Tensor  # (K, 2)
    weights: Tensor  # (K,) in [0, 1]
    present: Tensor  # (K,) bool


_ABSENT = _Labels(
    torch.zeros(NUM_KEYPOINTS, 2), torch.ones(NUM_KEYPOINTS), torch.zeros(NUM_KEYPOINTS, dtype=torch.bool)
)  # every keypoint is known not to be there


def _sample(image: Tensor, box: Tensor, own: _Labels, near: _Labels, crop_hw: tuple[int, int]) -> tuple[Tensor, ...]:
    """Return the columns of `Crops` for one (4,) box with its person and the one near."""
    canvas, to_canvas = _canvas(image, box, crop_hw)
    corners = box.view(1, 2, 2)
    on_canvas = transform_points(corners - 0.5, to_canvas)[0].flatten() + 0.5  # edges, not centres
    points, near_points = (transform_points(labels.points[None], to_canvas)[0] for labels in (own, near))
    return canvas, on_canvas, points, own.weights, own.present, near_points, near.present


def nearest_overlapping(boxes: Tensor) -> list[int | None]:
    """Return for each of (N, 4) boxes which other overlaps it most, None if none does."""
    overlap = pairwise_iou(boxes, boxes).fill_diagonal_(0)
    return [int(row.argmax()) if row.any() else None for row in overlap]


def _person_crops(root: Path, config: DatasetConfig, crop_hw: tuple[int, int]) -> Iterator[tuple[Tensor, ...]]:
    labels = read_labels(root, config)
    chosen = labels.crop_people(config)
    images = {image["id"]: image for image in labels.images}
    for entry, image in pictures_of(root, config, [images[key] for key in chosen]):
        people = chosen[entry["id"]]
        boxes = xywh_to_xyxy(torch.tensor([person["bbox"] for person in people], dtype=torch.float32))
        poses = []
        for person in people:
            points, weights = map(torch.from_numpy, person_labels(person, labels.guesses.get(person["id"]), config))
            poses.append(_Labels(points, weights, weights > 0))
        for box, own, other in zip(boxes, poses, nearest_overlapping(boxes), strict=True):
            yield _sample(image, box, own, _ABSENT if other is None else poses[other], crop_hw)


def _nobody(image: Tensor, box: Tensor, crop_hw: tuple[int, int]) -> tuple[Tensor, ...]:
    """Return a sample of a (4,) box where nobody is."""
    return _sample(image, box, _ABSENT, _ABSENT, crop_hw)


def _mined_crops(root: Path, config: DatasetConfig, crop_hw: tuple[int, int]) -> Iterator[tuple[Tensor, ...]]:
    """Yield the places where the pipeline saw people and nobody is.

    A found box counts if it overlaps no person of the picture by more than a tenth (IoU), crowds included; pictures
    whose people are not all boxed prove nothing.

    Source: CCM section 4.1, hard-negative person detection mining.
    """
    if config.annotations:
        people = read_boxes(root / config.annotations)
    else:
        people = {path.name: [] for path in picture_paths(root / config.images, hold_out=config.hold_out)}
    found = read_boxes(root / config.mined)
    boxes = {name: seen for name, seen in found.items() if seen and name in people}
    for name, seen_xywh in boxes.items():
        image = read_rgb(root / config.images / name)
        seen = xywh_to_xyxy(torch.tensor(seen_xywh, dtype=torch.float32))
        true = xywh_to_xyxy(torch.tensor(people[name], dtype=torch.float32).view(-1, 4))
        on_nobody = (pairwise_iou(seen, true) <= 0.1).all(dim=1)
        yield from (_nobody(image, box, crop_hw) for box in seen[on_nobody])


def _empty_crops(root: Path, config: DatasetConfig, crop_hw: tuple[int, int]) -> Iterator[tuple[Tensor, ...]]:
    generator = torch.Generator().manual_seed(0)
    for path in picture_paths(root / config.images, hold_out=config.hold_out):
        image = read_rgb(path)
        limit = torch.tensor((image.shape[2], image.shape[1]), dtype=torch.float32)
        for _ in range(config.empty_crops):
            size = limit.min() * (0.15 + 0.8 * torch.rand(1, generator=generator))
            centre = limit * torch.rand(2, generator=generator)
            half = size * torch.tensor((0.2 + 0.3 * float(torch.rand(1, generator=generator)), 0.5))
            yield _nobody(image, torch.cat((centre - half, centre + half)), crop_hw)


class CanvasFile:
    """Canvases of one size, written to a file one after the other: a training set larger than the memory."""

    def __init__(self, path: Path) -> None:
        self.path, self._count, self._shape = path, 0, (0, 0, 0)
        self._file = path.open("wb")

    def __enter__(self) -> CanvasFile:
        """Take part in a `with` statement, which closes the file."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._file.close()

    def add(self, canvas: Tensor) -> Tensor:
        """Write one (3, H, W) uint8 canvas; return its number as a scalar tensor that stands for it."""
        self._file.write(canvas.contiguous().numpy().data)
        self._count, self._shape = self._count + 1, (canvas.shape[0], canvas.shape[1], canvas.shape[2])
        return torch.tensor(self._count - 1)

    def canvases(self, numbers: Sequence[Tensor]) -> Canvases:
        """Return the canvases of these numbers, as they lie in the file."""
        self._file.flush()
        return mapped_canvases(self.path, (self._count, *self._shape), torch.stack(list(numbers)))


def load_samples(
    root: Path, config: TrainConfig, spec: ModelSpec, *, store: CanvasFile | None = None
) -> Crops | Pictures:
    """Decode what a network of this kind trains on.

    Args:
        root: what the datasets' paths are relative to.
        config: names the datasets.
        spec: a refiner gets people, all others whole pictures.
        store: takes the canvases; they are held in memory without.

    Raises:
        InputError: a file is missing or damaged.
    """
    if spec.kind == "refiner":
        return load_crops(root, config.datasets, crop_hw=spec.input_hw, store=store)
    return load_pictures(root, config.datasets, store=store)


def _kept(canvas: Tensor, store: CanvasFile | None) -> Tensor:
    return canvas if store is None else store.add(canvas)


def _canvases(kept: Sequence[Tensor], store: CanvasFile | None) -> Canvases:
    return Canvases.of(kept) if store is None else store.canvases(kept)


def load_crops(
    root: Path, datasets: tuple[DatasetConfig, ...], *, crop_hw: tuple[int, int], store: CanvasFile | None = None
) -> Crops:
    """Decode all people of all datasets.

    Args:
        root: what the datasets' paths are relative to.
        datasets: see `DatasetConfig`.
        crop_hw: of the crops that will be cut from the canvases.
        store: see `load_samples`.

    Raises:
        InputError: a file is missing or damaged.
    """
    samples: list[tuple[Tensor, ...]] = []
    for number, config in enumerate(datasets):
        parts: list[tuple[Iterable[tuple[Tensor, ...]], int]] = []
        crops = _person_crops if config.annotations or config.pseudo else _empty_crops
        if not config.only_mined:
            parts.append((crops(root, config, crop_hw), config.repeat))
        if config.mined:
            parts.append((_mined_crops(root, config, crop_hw), 1))
        for part, repeat in parts:
            found = [(_kept(canvas, store), *labels, torch.tensor(number)) for canvas, *labels in part]
            samples += found * repeat
    if not samples:
        raise InputError(f"{root}: no labelled people in {', '.join(config.images for config in datasets)}")
    canvases, *labels = zip(*samples, strict=True)
    return Crops(_canvases(canvases, store), *(torch.stack(column) for column in labels))


def _picture(image: Tensor, size: int) -> tuple[Tensor, float]:
    """Shrink or enlarge a (3, H, W) picture to a long side of `size`, on a square canvas; also the factor."""
    factor = size / max(image.shape[1:])
    width, height = round(image.shape[2] * factor), round(image.shape[1] * factor)
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    canvas = np.zeros((size, size, 3), np.uint8)
    canvas[:height, :width] = cv2.resize(image.permute(1, 2, 0).numpy(), (width, height), interpolation=method)
    return torch.from_numpy(canvas).permute(2, 0, 1).contiguous(), factor


def _picture_labels(
    annotations: list[dict[str, Any]], guesses: dict[int, np.ndarray], config: DatasetConfig, factor: float
) -> dict[str, Tensor]:
    boxes, crowd, points, weights = [], [], [], []
    for annotation in annotations:
        x, y, width, height = annotation["bbox"]
        labels = person_labels(annotation, guesses.get(annotation["id"]), config)
        boxes.append((x, y, x + width, y + height))
        crowd.append(bool(annotation.get("iscrowd")))
        points.append(labels[0])
        weights.append(labels[1])
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).view(-1, 4) * factor,
        "crowd": torch.tensor(crowd, dtype=torch.bool),
        "valid": ~torch.tensor(crowd, dtype=torch.bool),
        "points": (torch.tensor(np.array(points, np.float32)).view(-1, NUM_KEYPOINTS, 2) + 0.5) * factor - 0.5,
        "weights": torch.tensor(np.array(weights, np.float32)).view(-1, NUM_KEYPOINTS),
    }


def _pictures(root: Path, config: DatasetConfig, size: int) -> Iterator[dict[str, Tensor]]:
    if config.annotations or config.pseudo:
        labels = read_labels(root, config)
        found = pictures_of(root, config, labels.images)
    else:
        labels = Labels((), {}, {})
        paths = picture_paths(root / config.images, hold_out=config.hold_out)
        found = (({"id": 0}, read_rgb(path)) for path in paths)
    for entry, image in found:
        canvas, factor = _picture(image, size)
        sample = _picture_labels(labels.people.get(entry["id"], []), labels.guesses, config, factor)
        sample["sizes_wh"] = torch.tensor((image.shape[2] * factor, image.shape[1] * factor))
        yield {"canvases": canvas, "complete": torch.tensor(entry.get("all_persons_boxed", True)), **sample}


def load_pictures(
    root: Path,
    datasets: tuple[DatasetConfig, ...],
    *,
    size: int = 512,
    people: int = 32,
    store: CanvasFile | None = None,
) -> Pictures:
    """Decode all pictures of all datasets.

    Args:
        root: what the datasets' paths are relative to.
        datasets: see `DatasetConfig`.
        size: side of the square canvases.
        people: most people kept of one picture; the largest are.
        store: see `load_samples`.

    Raises:
        InputError: a file is missing or damaged.
    """
    samples: list[dict[str, Tensor]] = []
    for number, config in enumerate(datasets):
        same = {"datasets": torch.tensor(number)}
        found = _pictures(root, config, size)
        kept = [{**_pad(one, people), **same, "canvases": _kept(one["canvases"], store)} for one in found]
        samples += kept * config.repeat
    if not samples:
        raise InputError(f"{root}: no pictures in {', '.join(config.images for config in datasets)}")
    canvases = _canvases([sample["canvases"] for sample in samples], store)
    labels = (item.name for item in fields(Pictures)[1:])
    return Pictures(canvases, *(torch.stack([sample[name] for sample in samples]) for name in labels))


def _pad(sample: dict[str, Tensor], people: int) -> dict[str, Tensor]:
    """Bring the per-person labels of one picture to `people` rows; too many people make it incomplete."""
    boxes = sample["boxes"]
    order = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).argsort(descending=True)[:people]
    padded = dict(sample)
    if len(boxes) > people:
        padded["complete"] = torch.tensor(False)
    for name in ("boxes", "valid", "crowd", "points", "weights"):
        rows = sample[name][order]
        filler = rows.new_zeros((people - len(rows), *rows.shape[1:]))
        padded[name] = torch.cat((rows, filler))
    return padded
