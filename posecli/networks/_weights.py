"""Weights on disk: found, read with every key and shape accounted for, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from posecli.errors import WeightsError
from posecli.media.files import replacing, sha256
from posecli.networks._checkpoints import CHECKPOINTS
from posecli.networks._pickled import read_pickled

SHIPPED_LICENSE = "Apache-2.0"  # of the weights that come with posecli

_PACKAGE = Path(__file__).parents[1]
_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_SHIPPED = (_PACKAGE / "weights", _PACKAGE.parent / "weights")  # inside the wheel, or in a source checkout


@dataclass(frozen=True)
class WeightsFile:
    """What a file of weights holds."""

    path: Path
    tensors: dict[str, Tensor]
    metadata: dict[str, str] = field(default_factory=dict)  # empty in a public checkpoint
    safe: bool = True  # safetensors, not a pickle

    @property
    def num_params(self) -> int:
        """Count the numbers that training changes; running statistics and counters are none."""
        statistics = (".running_mean", ".running_var", ".num_batches_tracked")
        return sum(tensor.numel() for name, tensor in self.tensors.items() if not name.endswith(statistics))


def cache_folder() -> Path:
    """Return the folder of pulled weights: `POSECLI_HOME`, else posecli's in the user's cache folder (XDG)."""
    if home := os.environ.get("POSECLI_HOME"):
        return Path(home).expanduser()
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))  # a relative one is to be ignored, says the standard
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "posecli"


def cached_path(checkpoint: str) -> Path:
    """Return where a checkpoint's weights lie once they are pulled."""
    return cache_folder() / "weights" / f"{checkpoint}.safetensors"


def shipped_path(name: str) -> Path | None:
    """Return the file of the weights that come with posecli, if it has some for this network."""
    paths = (folder / f"{name}.safetensors" for folder in _SHIPPED)
    return next((path for path in paths if path.is_file()), None)


def find_weights(name: str) -> Path:
    """Return a network's weights: those that come with posecli, else those that were pulled.

    Raises:
        WeightsError: there are none; the message says how to get them.
    """
    if shipped := shipped_path(name):
        return shipped
    if cached_path(name).is_file():
        return cached_path(name)
    if public := next((one.name for one in CHECKPOINTS.values() if one.network == name), ""):
        raise WeightsError(f"{name}: its weights are not on this machine; get them with: posecli weights pull {public}")
    raise WeightsError(f"{name}: posecli comes without weights for it; train them or name a file with --weights")


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Say what is wrong with a file that is to be read."""
    if not path.is_file():
        raise WeightsError(f"{path}: no such weights file")
    try:
        yield
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror})") from error


def digest(path: Path) -> str:
    """Return the SHA-256 of a file of weights in hex.

    Raises:
        WeightsError: it is missing or cannot be read.
    """
    with _telling(path):
        return sha256(path)


def read_weights(path: Path) -> WeightsFile:
    """Read a file of weights, ours (safetensors) or a public checkpoint (`.pth`), told apart by content.

    Raises:
        WeightsError: missing, damaged, or with more in it than weights.
    """
    with _telling(path), path.open("rb") as file:
        is_safetensors = file.read(9)[8:] == b"{"  # after the header's length
    if not is_safetensors and path.suffix != ".safetensors":
        return WeightsFile(path, read_pickled(path), safe=False)
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415 - see `save_tensors`

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
            metadata = dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a whole safetensors file ({error}); get it again") from error
    return WeightsFile(path, tensors, metadata)


def fill(network: nn.Module, tensors: Mapping[str, Tensor], *, where: str, name: str) -> None:
    """Copy tensors into a network, every key and shape accounted for.

    Args:
        network: changed in place.
        tensors: all that `weights_of(network)` names, and nothing else.
        where: the file, for messages.
        name: the network's name, for messages.

    Raises:
        WeightsError: a key is missing or unknown, a shape differs, or a number is not finite.
    """
    check_fit(weights_of(network), tensors, where=where, name=name)
    check_finite(tensors, where=where)
    network.load_state_dict(dict(tensors), strict=False)  # strict in all but the counters that nobody reads


def check_fit(own: Mapping[str, Tensor], given: Mapping[str, Tensor], *, where: str, name: str) -> None:
    """Compare names, shapes and kinds.

    Raises:
        WeightsError: they differ; the message names the first of each kind and counts them.
    """
    missing, unknown = [key for key in own if key not in given], [key for key in given if key not in own]
    if missing or unknown:
        which = [f"lacks {some(missing)}"] if missing else []
        which += [f"has {some(unknown)}, which {name} does not know"] if unknown else []
        raise WeightsError(f"{where}: weights of another network than {name}: it {' and '.join(which)}")
    for key, tensor in own.items():
        check_tensor(given[key], tensor, where=where, key=key, name=name)


def check_tensor(found: Tensor, wanted: Tensor, *, where: str, key: str, name: str) -> None:
    """Compare the shape and kind of one tensor.

    Raises:
        WeightsError: they differ.
    """
    kinds = _FLOATS if wanted.is_floating_point() else (wanted.dtype,)
    if found.shape != wanted.shape or found.dtype not in kinds:
        raise WeightsError(f"{where}: {key} is {_shape(found)}, but {name} wants {_shape(wanted)}")


def _shape(tensor: Tensor) -> str:
    kind = "" if tensor.dtype in _FLOATS else f" of {tensor.dtype}".replace("torch.", "")
    return ("x".join(map(str, tensor.shape)) or "one number") + kind


def check_finite(tensors: Mapping[str, Tensor], *, where: str) -> None:
    """Look at every number.

    Raises:
        WeightsError: one is infinite or not a number.
    """
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise WeightsError(f"{where}: holds numbers that are not finite; get it again")


def some(keys: list[str]) -> str:
    """Name the first of many, and count the others."""
    return f"{keys[0]:.120} and {len(keys) - 1} more" if len(keys) > 1 else f"{keys[0]:.120}"


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """Return what a file of weights holds: everything but the batch norms' batch counters."""
    return {key: value for key, value in network.state_dict().items() if not key.endswith("num_batches_tracked")}


def save_weights(network: nn.Module, path: Path, metadata: dict[str, str]) -> None:
    """Write a network's weights as safetensors, half precision where a tensor is floating point, atomically."""
    half = {
        key: tensor.to(torch.float16) if tensor.is_floating_point() else tensor
        for key, tensor in weights_of(network).items()
    }
    save_tensors(half, path, metadata)


def save_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Write tensors as they are as safetensors, atomically.

    Raises:
        WeightsError: the folder cannot be written, or the disk is full.
    """
    from safetensors import SafetensorError  # noqa: PLC0415 - training from packs does without
    from safetensors.torch import save_file  # noqa: PLC0415

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, path.with_name(f".{path.name}.{os.getpid()}.part")) as temporary:
            save_file({key: tensor.contiguous().cpu() for key, tensor in tensors.items()}, temporary, metadata=metadata)
            temporary.chmod(0o644)  # safetensors makes it the owner's alone, and it goes into wheels
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: cannot be written ({error})") from error
