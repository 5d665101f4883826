"""A training set as one compact file: samples, start weights and configuration, read with torch and numpy alone.

The file is numpy's .npz without pickled objects: labels as arrays, canvases as chunks of `compression`, the rest as
JSON. A machine that is lent for an hour, with nothing installed, trains from it: `python -m posecli.training FILE`.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from posecli.config import TrainConfig, train_config_from
from posecli.errors import ConfigError, InputError
from posecli.training.compression import compress, decompress
from posecli.training.samples import Canvases, Crops, Pictures, joined, mapped_canvases, on_device

_FORMAT = 3
_CHUNK = 64  # canvases compressed together
_QUALITIES = (75, 60, 45, 30, 20)  # tried from the best down until the limit is met
_ENTRY = 512  # bytes that .npz spends on an array beside its numbers, and on chunk_ends
RAW_CANVASES, RAW_LABELS = "canvases.u8", "labels.npz"  # of a raw pack, a folder
_START = "start/"  # prefix of the start weights' names
_KINDS: dict[str, type[Crops] | type[Pictures]] = {"crops": Crops, "pictures": Pictures}


@dataclass(frozen=True, kw_only=True)
class Pack:
    """What a file holds."""

    config: TrainConfig
    samples: Crops | Pictures
    start: dict[str, Tensor]  # weights to start from, by name; empty: random ones


def write_pack(
    path: Path,
    config: TrainConfig,
    samples: Crops | Pictures,
    start: Mapping[str, Tensor],
    *,
    quality: int = _QUALITIES[0],
    limit: int | None = None,
) -> int:
    """Write a training set, whole or not at all.

    Args:
        path: .npz.
        config: of the run; its paths are of no more use where the pack goes.
        samples: on the CPU.
        start: see `Pack`.
        quality: of the canvases, 1 to 100; lowered as far as the limit demands.
        limit: most bytes of the file.

    Returns:
        The quality used.

    Raises:
        InputError: the limit cannot be met with usable pictures.
    """
    arrays = _arrays(config, samples, start)
    rest = sum(array.nbytes + _ENTRY for array in arrays.values()) + 2 * _ENTRY
    chunks, used = _compressed(samples.canvases.images, quality, None if limit is None else limit - rest)
    arrays["chunk_ends"] = np.cumsum([len(chunk) for chunk in chunks], dtype=np.int64)
    arrays["chunks"] = np.frombuffer(b"".join(chunks), np.uint8)
    _save(path, arrays)
    return used


def write_raw_pack(folder: Path, config: TrainConfig, samples: Crops | Pictures, start: Mapping[str, Tensor]) -> None:
    """Write a training set's labels beside its canvases, which lie in the folder's `canvases.u8` already.

    Training reads them from there, in any number of processes, without holding them: what COCO's 150,000 people need.

    Args:
        folder: of the pack.
        config: of the run.
        samples: with `canvases` of that file, see `data.CanvasFile`.
        start: see `Pack`.
    """
    images = samples.canvases.images
    if not isinstance(images, Tensor) or not len(images):
        raise ValueError("a raw pack's canvases are one tensor, in its file")
    arrays = _arrays(config, samples, start)
    arrays["shape"] = np.array(images.shape, np.int64)
    _save(folder / RAW_LABELS, arrays)


def _arrays(config: TrainConfig, samples: Crops | Pictures, start: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Return all that is written but the canvases."""
    arrays = {item.name: getattr(samples, item.name).numpy() for item in fields(samples) if item.name != "canvases"}
    arrays["canvas"] = samples.canvases.places.numpy().astype(np.int32)
    arrays |= {_START + name: tensor.half().numpy() for name, tensor in start.items()}
    kind = next(name for name, record in _KINDS.items() if isinstance(samples, record))
    header = json.dumps({"format": _FORMAT, "kind": kind, "config": asdict(config)})
    return {**arrays, "header": np.frombuffer(header.encode(), np.uint8)}


def _save(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.npz")
    try:
        np.savez(temporary, allow_pickle=False, **arrays)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _compressed(images: Tensor | Sequence[Tensor], quality: int, limit: int | None) -> tuple[list[bytes], int]:
    """Compress the canvases at the best quality, up to `quality`, that keeps within `limit` bytes."""
    for tried in (quality, *(lower for lower in _QUALITIES if lower < quality)):
        chunks: list[bytes] = []
        total = 0
        for first in range(0, len(images), _CHUNK):
            chunks.append(compress(torch.stack(list(images[first : first + _CHUNK])), quality=tried))
            total += len(chunks[-1])
            expected = total / min(len(images), first + _CHUNK) * len(images)  # chunks are much alike
            if limit is not None and (total > limit or (first and expected > 1.1 * limit)):
                break
        else:
            return chunks, tried
    raise InputError(
        f"{len(images)} canvases take about {expected / 2**20:.0f} MiB at quality {tried}, wanted {limit / 2**20:.0f}: "  # type: ignore[operator]
        "raise --max-mib or pack fewer datasets"
    )


def read_pack(paths: Sequence[Path], *, device: torch.device) -> Pack:
    """Read one training set from its file, or from several of the same configuration.

    Args:
        paths: what `write_pack` wrote; the start weights of the first count.
        device: where the samples will lie.

    Raises:
        ConfigError: the files are of different runs.
        InputError: a file is missing, damaged or no pack.
    """
    packs = [_read(path, device) for path in paths]
    first = packs[0]
    for path, pack in zip(paths, packs, strict=True):
        if pack.config.network != first.config.network or type(pack.samples) is not type(first.samples):
            raise ConfigError(f"{path}: a pack for {pack.config.network}, but the first is for {first.config.network}")
        if first.config.phases and pack.config.datasets != first.config.datasets:
            raise ConfigError(f"{path}: of other datasets than the first, so its samples belong to other phases")
    if len(packs) == 1:
        return first
    if raw := next((path for path in paths if path.is_dir()), None):
        raise ConfigError(f"{raw}: a raw pack stays on the disk and is used alone, without {len(paths) - 1} others")
    samples: Crops | Pictures = joined([pack.samples for pack in packs])
    return Pack(config=first.config, samples=samples, start=first.start)


def _read(path: Path, device: torch.device) -> Pack:
    try:
        with np.load(path / RAW_LABELS if path.is_dir() else path, allow_pickle=False) as file:
            header = json.loads(file["header"].tobytes())
            if header["format"] != _FORMAT:
                raise InputError(f"{path}: a pack of format {header['format']}, wanted {_FORMAT}; pack again")
            config = train_config_from(header["config"], str(path))
            kind: Any = _KINDS[header["kind"]]
            labels = {item.name: torch.from_numpy(file[item.name]) for item in fields(kind) if item.name != "canvases"}
            start = {
                name.removeprefix(_START): torch.from_numpy(file[name]).float()
                for name in file.files
                if name.startswith(_START)
            }
            places = torch.from_numpy(file["canvas"]).long()
            if path.is_dir():
                canvases = mapped_canvases(path / RAW_CANVASES, tuple(file["shape"].tolist()), places)
            else:
                canvases = Canvases(_decompressed(file["chunks"], file["chunk_ends"], device), places)
        if not len(places) or int(places.max()) >= len(canvases.images) or int(places.min()) < 0:
            raise ValueError(f"samples of canvases that are not there, of {len(canvases.images)}")
        if any(len(value) != len(places) for value in labels.values()):
            raise ValueError("labels and canvases differ in number")
        samples = on_device(kind(canvases=canvases, **labels), device)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: no pack, or a damaged one ({error}); write it again with posecli train pack"
        ) from error
    return Pack(config=config, samples=samples, start=start)


def _decompressed(chunks: np.ndarray, ends: np.ndarray, device: torch.device) -> Tensor:
    bounds = zip([0, *ends.tolist()], ends.tolist(), strict=False)
    return torch.cat([decompress(chunks[a:b].tobytes(), device=device) for a, b in bounds])
