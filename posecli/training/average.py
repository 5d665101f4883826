"""Weights of several runs made one network: what the runs agree on stays, what each has learnt by chance fades.

Runs that go on from each other, or from the same weights, mostly lie in one valley, and between them is a better place
than either. Source: Wortsman et al., "Model soups", ICML 2022, section 2.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import torch

from posecli.errors import ConfigError, WeightsError
from posecli.networks._weights import check_finite, check_fit, digest, read_weights, save_tensors


def average_weights(paths: Sequence[Path], shares: Sequence[float], out: Path) -> dict[str, str]:
    """Write the weighted mean of weights of one network as safetensors, in the kinds of numbers of the first.

    Args:
        paths: of files that `posecli train` wrote.
        shares: how much each counts, relative to their sum.
        out: where the mean goes; it may be one of `paths`.

    Returns:
        The metadata that it got: those of the file that counts most (the first of equals), and `averaged`, which names
        all by their SHA-256.

    Raises:
        ConfigError: fewer than two files, or shares that are not one positive number each.
        WeightsError: a file is missing, damaged, not trained by posecli, or another network's.
    """
    if len(paths) < 2:
        raise ConfigError(f"found {len(paths)} file of weights, wanted two or more to average")
    if len(shares) != len(paths) or not all(0 < share < math.inf for share in shares):
        raise ConfigError(f"found {len(shares)} shares, wanted a positive number for each of {len(paths)} files")
    files = [read_weights(path) for path in paths]
    names = [file.metadata.get("network", "") for file in files]
    first = files[0]
    for file, name in zip(files, names, strict=True):
        if not name:
            raise WeightsError(f"{file.path}: does not say which network it is of; wanted what posecli train wrote")
        if name != names[0]:
            raise WeightsError(f"{file.path}: weights of {name}, but {first.path} has those of {names[0]}")
        check_fit(first.tensors, file.tensors, where=str(file.path), name=name)
        check_finite(file.tensors, where=str(file.path))
    parts = torch.tensor(shares, dtype=torch.float64)
    parts /= parts.sum()
    mean = {
        key: torch.stack([part * file.tensors[key].double() for part, file in zip(parts, files, strict=True)])
        .sum(dim=0)
        .to(tensor.dtype)
        for key, tensor in first.tensors.items()
    }
    made_of = [
        {"sha256": digest(path), "share": round(share, 6)} for path, share in zip(paths, parts.tolist(), strict=True)
    ]
    metadata = {**files[int(parts.argmax())].metadata, "averaged": json.dumps(made_of)}
    save_tensors(mean, out, metadata)
    return metadata
