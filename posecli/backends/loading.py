"""Networks by name, from the zoo or a file, ready for inference on one device: weights, engine, precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import nn

from posecli.backends.engine import run_in_onnx
from posecli.backends.export import can_be_exported
from posecli.backends.onnx import PREFIX, load_onnx, onnx_path
from posecli.backends.sessions import falls_back
from posecli.errors import ConfigError, WeightsError
from posecli.media.files import sha256
from posecli.networks import ModelSpec, get_spec, join_rectifiers, load_network, random_network
from posecli.networks._weights import digest, find_weights
from posecli.runtime import DTYPES, Reduced, has_own_memory, keep_kernels, resolve_device, resolve_precision

RANDOM_WEIGHTS = "random"  # recorded where a network's SHA-256 would be


class Loader:
    """Loads networks onto one device and remembers which weights they got.

    Args:
        device: as in `runtime.resolve_device`.
        weights: files by network name, for networks that shall not use those that come with posecli.
        allow_random: networks without weights get random ones, always the same.
        engine: one of `config.ENGINES`, for networks of the zoo.
        precision: one of `config.PRECISIONS`, for networks in torch.
    """

    def __init__(
        self, device: str, weights: dict[str, Path] | None, *, allow_random: bool, engine: str, precision: str
    ) -> None:
        self.device = resolve_device(device)
        if not has_own_memory(self.device):
            keep_kernels()
        self.precision = resolve_precision(precision, self.device) if engine == "torch" else "fp32"
        self.used: dict[str, str] = {}  # by network name
        self.networks: dict[str, nn.Module] = {}
        self.notes: list[str] = []  # what there is to say, a line each
        self._given, self._allow_random, self._engine = dict(weights or {}), allow_random, engine

    def __call__(self, name: str, *kinds: str) -> tuple[nn.Module, ModelSpec]:
        """Load a network of one of these kinds."""
        self.networks[name], spec = self._load(name, kinds)
        return self.networks[name], spec

    def _load(self, name: str, kinds: Sequence[str]) -> tuple[nn.Module, ModelSpec]:
        if name.startswith(PREFIX):
            self.used[name] = sha256(onnx_path(name))
            return self._noting(name, load_onnx(name, device=self.device, kinds=kinds))
        spec = get_spec(name)
        if spec.kind not in kinds:
            raise ConfigError(f"{name} is a {spec.kind}, wanted a {' or '.join(kinds)}")
        load = self._in_torch(spec)
        if self._engine == "torch":
            return self._for_inference(*load())
        if not can_be_exported(spec):
            self.notes.append(f"{name} runs in torch: ONNX files are made of refiners and proposers")
            return load()
        return self._noting(name, run_in_onnx(load, name=name, digest=self.used[name], device=self.device, kinds=kinds))

    def _noting(self, name: str, loaded: tuple[nn.Module, ModelSpec]) -> tuple[nn.Module, ModelSpec]:
        """Note where ONNX Runtime runs a network, if not on the device."""
        if why := falls_back(self.device):
            self.notes.append(f"{name} {why}")
        return loaded

    def _for_inference(self, network: nn.Module, spec: ModelSpec) -> tuple[nn.Module, ModelSpec]:
        """Make a network of the zoo fast, and compute in less precision where that is wanted."""
        precision = "fp32" if spec.kind == "detector" else self.precision  # detectors do more inside than convolve
        if not has_own_memory(self.device):
            join_rectifiers(network, DTYPES[precision])
        return network if precision == "fp32" else Reduced(network, self.device, precision), spec

    def _in_torch(self, spec: ModelSpec) -> Callable[[], tuple[nn.Module, ModelSpec]]:
        """Note which weights a network gets; return what builds it with these."""
        path = self._given.get(spec.name)
        try:
            path = path or find_weights(spec.name)
        except WeightsError:
            if not self._allow_random:
                raise
            self.used[spec.name] = RANDOM_WEIGHTS
            return lambda: (random_network(spec), spec)
        self.used[spec.name] = digest(path)
        return lambda: load_network(spec.name, path)

    def refuse_unused(self) -> None:
        """Say so if weights were given for a network that nobody asked for."""
        if unused := sorted(self._given.keys() - self.used.keys()):
            raise ConfigError(f"weights given for {unused[0]}, but the networks are {' and '.join(self.used)}")


def random_warning(weights: dict[str, str]) -> str:
    """Say which networks have random weights; empty if none has.

    Args:
        weights: as `Loader.used`.
    """
    names = [name for name, found in weights.items() if found == RANDOM_WEIGHTS]
    return f"random weights ({', '.join(names)}): these poses mean nothing" if names else ""
