"""Weights on disk: safetensors only, every key and shape accounted for, written whole or not at all."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from posecli.errors import WeightsError

_PACKAGE = Path(__file__).parents[1]
_FOLDERS = (_PACKAGE / "weights", _PACKAGE.parent / "weights")  # inside the wheel, or in a source checkout


def find_weights(name: str) -> Path:
    """Return the file of the weights that come with posecli.

    Raises:
        WeightsError: posecli has none for this network.
    """
    for folder in _FOLDERS:
        path = folder / f"{name}.safetensors"
        if path.is_file():
            return path
    raise WeightsError(f"{name}: posecli comes without weights for it; train them or name a file with --weights")


def sha256(path: Path) -> str:
    """Return a file's SHA-256 in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(file)


def _digest(file: object) -> str:  # Python 3.10 has no hashlib.file_digest
    digest = hashlib.sha256()
    while block := file.read(1 << 20):  # type: ignore[attr-defined]
        digest.update(block)
    return digest.hexdigest()


def load_weights(network: nn.Module, path: Path, *, name: str) -> dict[str, str]:
    """Copy a safetensors file into a network.

    Args:
        network: changed in place.
        path: the file.
        name: the network's name, for messages.

    Returns:
        The file's metadata.

    Raises:
        WeightsError: missing, damaged, or with other keys or shapes than the network's.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file")
    try:
        with safe_open(path, framework="pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
            metadata = dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a whole safetensors file ({error}); get it again") from error
    own = _weights_of(network)
    missing, unknown = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    if missing or unknown:
        which = f"lacks {missing[0]}" if missing else f"has {unknown[0]}, which {name} does not know"
        raise WeightsError(f"{path}: weights of another network than {name}: it {which}")
    for key, tensor in own.items():
        if tensor.shape != state[key].shape:
            found, wanted = "x".join(map(str, state[key].shape)), "x".join(map(str, tensor.shape))
            raise WeightsError(f"{path}: {key} is {found}, but {name} wants {wanted}")
    if not all(tensor.isfinite().all() for tensor in state.values()):
        raise WeightsError(f"{path}: holds numbers that are not finite; get it again")
    network.load_state_dict(state, strict=False)  # strict in all but the counters that nobody reads
    return metadata


def _weights_of(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return what a file of weights holds: everything but the batch norms' batch counters."""
    return {key: value for key, value in network.state_dict().items() if not key.endswith("num_batches_tracked")}


def save_weights(network: nn.Module, path: Path, metadata: dict[str, str]) -> None:
    """Write a network's weights as safetensors, half precision where a tensor is floating point, atomically."""
    state = {
        key: (tensor.to(torch.float16) if tensor.is_floating_point() else tensor).contiguous().cpu()
        for key, tensor in _weights_of(network).items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    save_file(state, temporary, metadata=metadata)
    temporary.chmod(0o644)  # safetensors makes it the owner's alone, and it goes into wheels
    temporary.replace(path)
