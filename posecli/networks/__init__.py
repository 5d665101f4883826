"""The zoo: every module here without a leading underscore is a network, and its `SPECS` name its sizes."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import torch
from torch import nn

from posecli.errors import ConfigError
from posecli.networks._foreign import fit
from posecli.networks._layers import fuse_batch_norm, join_rectifiers
from posecli.networks._spec import ModelSpec
from posecli.networks._weights import fill, find_weights, read_weights

__all__ = ["ModelSpec", "available", "fuse_batch_norm", "get_spec", "join_rectifiers", "load_network", "random_network"]


def available() -> dict[str, ModelSpec]:
    """Specs by name, in module order; read from each network module's `SPECS`."""
    names = sorted(info.name for info in iter_modules(__path__) if not info.name.startswith("_"))
    modules = [import_module(f"{__name__}.{name}") for name in names]
    return {spec.name: spec for module in modules for spec in module.SPECS}


def get_spec(name: str) -> ModelSpec:
    """Return one network's spec.

    Raises:
        ConfigError: there is no such network.
    """
    specs = available()
    if name not in specs:
        near = get_close_matches(name, specs, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(specs)}"
        raise ConfigError(f"unknown network {name!r}; {hint}")
    return specs[name]


def load_network(
    name: str, weights: str | Path | None = None, *, kind: str | None = None
) -> tuple[nn.Module, ModelSpec]:
    """Build a network with its weights, ready for inference: evaluation mode, batch norms folded.

    Args:
        name: one of `available()`.
        weights: a file, ours (safetensors) or a public checkpoint (`.pth`); the weights that come with posecli or were
            pulled if omitted.
        kind: "refiner" or "proposer" where only one will do.

    Returns:
        The network, and its spec with the preprocessing and decoding that these very weights want.

    Raises:
        ConfigError: unknown name, or a network of another kind.
        WeightsError: no weights, a damaged file, or weights of another network.
    """
    spec = get_spec(name)
    if kind is not None and spec.kind != kind:
        raise ConfigError(f"{name} is a {spec.kind}, wanted a {kind}")
    network = spec.build()
    file = read_weights(Path(weights) if weights is not None else find_weights(name))
    fitted = fit(file, spec, network)
    fill(network, fitted.tensors, where=str(file.path), name=name)
    return fuse_batch_norm(network.eval()).requires_grad_(False), fitted.spec


def random_network(spec: ModelSpec) -> nn.Module:
    """Build a network with random weights, always the same, ready for inference: to try out, not to believe."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = spec.build()
    return fuse_batch_norm(network.eval()).requires_grad_(False)
