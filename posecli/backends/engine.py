"""The zoo's networks in ONNX Runtime: exported once for each file of weights, kept in the user's cache."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch
from torch import nn

from posecli import networks
from posecli.backends import export as exporting
from posecli.backends.export import export
from posecli.backends.onnx import open_network
from posecli.errors import WeightsError
from posecli.networks import ModelSpec
from posecli.networks._weights import cache_folder

_MOST_GRAPHS = 24  # some MiB to some hundred each; those least lately used go first


def graph_path(name: str, digest: str) -> Path:
    """Return where a network's graph is kept: another one for other weights, other code and another version of torch.

    Args:
        name: of the network.
        digest: what tells its weights, a SHA-256.
    """
    key = hashlib.sha256("\n".join((name, digest, _code(), torch.__version__)).encode()).hexdigest()
    return cache_folder() / "onnx" / f"{name}-{key[:16]}.onnx"


@cache
def _code() -> str:
    """Return a digest of the code that decides how a graph comes out."""
    files = sorted(path for package in networks.__path__ for path in Path(package).glob("*.py"))
    together = hashlib.sha256()
    for path in (*files, Path(exporting.__file__)):
        together.update(path.read_bytes())
    return together.hexdigest()


def run_in_onnx(
    load: Callable[[], tuple[nn.Module, ModelSpec]],
    *,
    name: str,
    digest: str,
    device: torch.device,
    kinds: Sequence[str],
) -> tuple[nn.Module, ModelSpec]:
    """Return a network that runs in ONNX Runtime, from the cache if it is there.

    Two processes that start together both export, and the later file takes the place of the first: they are alike. A
    cache that cannot be written costs an export at every start.

    Args:
        load: gives the network in torch, on the CPU, ready for inference.
        name: of the network.
        digest: what tells its weights, a SHA-256.
        device: where it shall run.
        kinds: see `open_network`.

    Raises:
        ConfigError: the extra `onnx` is not installed, or a network of another kind.
        WeightsError: no weights, or the network cannot be exported.
    """
    kept = graph_path(name, digest)
    if kept.is_file():
        with suppress(WeightsError):  # damaged: it is written anew
            opened = open_network(kept, name=name, device=device, kinds=kinds)
            _touch(kept)
            return opened
    network, spec = load()
    try:
        export(network, spec, kept, {"weights_sha256": digest})
    except WeightsError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        with tempfile.TemporaryDirectory() as folder:
            passing = Path(folder) / kept.name
            export(network, spec, passing, {})
            return open_network(passing, name=name, device=device, kinds=kinds)
    _forget(kept.parent)
    return open_network(kept, name=name, device=device, kinds=kinds)


def _touch(path: Path) -> None:
    """Note that a graph is in use."""
    with suppress(OSError):  # a cache of somebody else's
        path.touch()


def _forget(folder: Path) -> None:
    """Remove the graphs that were not used for longest, beyond the most that are kept."""
    with suppress(OSError):  # another process may be at it
        graphs = sorted(folder.glob("*.onnx"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in graphs[_MOST_GRAPHS:]:
            path.unlink(missing_ok=True)
