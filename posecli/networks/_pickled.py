"""Public `.pth` files, read without running anything that is in them.

A `.pth` file is a pickle, and a pickle is a program. torch's `weights_only` reader knows the few instructions that
tensors need and refuses all others. What training frameworks leave beside the weights (numpy statistics, mmengine's
log buffers) it would refuse too; here those names become `_Nothing`, which takes any arguments and does nothing, so
that the file's weights can be read and none of its code exists. Everything else is refused by name.
"""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.serialization import safe_globals

from posecli.errors import WeightsError

_NESTS = ("state_dict", "model", "model_state_dict")  # where training code puts the weights, first found counts
_MAX_KEYS = 100_000
_INERT = (  # seen in published mmpose and mmengine checkpoints, beside the weights
    "mmengine.logging.history_buffer.HistoryBuffer",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.ndarray",
    "numpy.dtype",
    "_codecs.encode",
    "builtins.getattr",
)


class _Nothing:
    """Stands where a file names code."""

    def __new__(cls, *_: object, **__: object) -> _Nothing:
        return object.__new__(cls)

    def __init__(self, *_: object, **__: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


def _nothing(full_name: str) -> type[_Nothing]:
    """Return a `_Nothing` that torch's reader takes for what a file names so."""
    module, _, name = full_name.rpartition(".")
    return type(name, (_Nothing,), {"__module__": module, "__qualname__": name})


def read_pickled(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a public checkpoint by name, unwrapped from the dictionaries around them.

    The tensors of a zip file are views of the file on disk: copy what is kept.

    Raises:
        WeightsError: no checkpoint, a damaged one, one that unpacks to more than it weighs, or one that holds more
            than data.
    """
    is_zip = _check_form(path)
    try:
        with warnings.catch_warnings(), safe_globals([_nothing(name) for name in _INERT]):
            warnings.simplefilter("ignore")  # torch's remarks on old storage classes
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        raise WeightsError(f"{path}: {_why(str(error))}") from error
    except Exception as error:  # a hostile or torn stream may break torch's reader anywhere
        raise _broken(path, error) from error
    return _unwrap(path, content)


def _check_form(path: Path) -> bool:
    """Return whether a file is a zip archive; refuse what is no checkpoint at all, and zips that would swell."""
    with path.open("rb") as file:
        start = file.read(512)
    if not start:
        raise WeightsError(f"{path}: is empty; get it again")
    if start.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        raise WeightsError(f"{path}: is a web page, not weights; the download link has led to an error page")
    if start.startswith(b"PK\x03\x04"):
        try:
            with zipfile.ZipFile(path) as archive:
                unpacked = sum(entry.file_size for entry in archive.infolist())
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise _broken(path, error) from error
        if unpacked > path.stat().st_size:
            raise WeightsError(
                f"{path}: {path.stat().st_size} bytes unpack to {unpacked}; checkpoints are stored as they are, refused"
            )
        return True
    if start[257:262] == b"ustar":
        raise WeightsError(
            f"{path}: is a tar archive; unpack it, or save its weights anew with torch.save (1.6 or later)"
        )
    if not start.startswith(b"\x80"):
        raise WeightsError(f"{path}: is neither safetensors nor a PyTorch checkpoint (starts {start[:8]!r})")
    return False


def _why(message: str) -> str:
    """Make one sentence of torch's report on what a file asked for."""
    named = re.search(r"Unsupported global: GLOBAL (\S+)|Trying to load unsupported GLOBAL (\S+)", message)
    if named:
        wanted = named[1] or named[2]
        return (
            f"asks for {wanted}, which would run code on loading; only weights are read. If you trust the file, save "
            "its state_dict alone: torch.save({name: tensor, ...}, FILE)"
        )
    return "asks for more than weights, or is damaged; only plain dictionaries of tensors are read"


def _broken(path: Path, error: Exception) -> WeightsError:
    first = str(error).split("\n")[0].split(". ")[0]
    return WeightsError(f"{path}: not a whole PyTorch checkpoint ({first or type(error).__name__}); get it again")


def _unwrap(path: Path, content: Any) -> dict[str, Tensor]:
    """Find the dictionary of tensors in what a file holds."""
    for _ in range(3):  # {"state_dict": {"model": ...}} exists
        if not isinstance(content, Mapping):
            break
        nest = next((name for name in _NESTS if isinstance(content.get(name), Mapping)), None)
        if nest is None:
            break
        content = content[nest]
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(f"{path}: holds no weights by name, but {_describe(content)}")
    if len(content) > _MAX_KEYS:
        raise WeightsError(f"{path}: names {len(content)} weights; no network has so many")
    return dict(_tensors(path, content))


def _tensors(path: Path, content: Mapping[Any, Any]) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise WeightsError(f"{path}: {name!r:.80} is {_describe(tensor)}, wanted a tensor")
        plain = tensor.layout == torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
        if not plain or tensor.is_complex() or tensor.is_nested:
            raise WeightsError(f"{path}: {name:.120} is {_describe(tensor)}, wanted a plain dense tensor")
        yield name, tensor.detach()


def _describe(value: object) -> str:
    if isinstance(value, Tensor):
        return f"a {value.dtype} tensor ({value.layout}, {value.device.type})".replace("torch.", "")
    if isinstance(value, Mapping):
        names = ", ".join(repr(name)[:40] for name in list(value)[:4])
        return f"a dictionary of {names}" if names else "an empty dictionary"
    return f"a {type(value).__name__}"
