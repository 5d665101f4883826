"""What a training starts from: weights of the same network, or a trunk that knows ImageNet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from posecli.errors import WeightsError
from posecli.networks import ModelSpec
from posecli.networks._mobilenet import MobileNetV2, load_folded
from posecli.networks._weights import fill, read_weights


def read_start(path: Path) -> dict[str, Tensor]:
    """Read start weights.

    Args:
        path: .safetensors of a network, or a .pth dict `convs.N.weight`, `convs.N.bias` of a folded MobileNet-v2.

    Raises:
        WeightsError: the file is missing or damaged.
    """
    return dict(read_weights(path).tensors)


def begin(network: nn.Module, start: Mapping[str, Tensor], spec: ModelSpec, images: Tensor) -> None:
    """Start a network from weights.

    Args:
        network: changed in place.
        start: see `read_start`.
        spec: the network's.
        images: (N, 3, H, W) normalised inputs that calibrate the batch norms of a folded trunk.

    Raises:
        WeightsError: they do not fit.
    """
    if "convs.0.weight" not in start:
        fill(network, start, where="start weights", name=spec.name)
        return
    trunk = getattr(network, "trunk", None)
    if not isinstance(trunk, MobileNetV2):
        raise WeightsError(f"start weights: a folded MobileNet-v2, but {spec.name} has no such trunk")
    try:
        count = sum(key.endswith(".weight") for key in start)
        folded = [(start[f"convs.{n}.weight"].float(), start[f"convs.{n}.bias"].float()) for n in range(count)]
        load_folded(trunk, folded, images.contiguous())
    except (KeyError, ValueError, RuntimeError) as error:
        raise WeightsError(f"start weights: no folded MobileNet-v2 ({error})") from error
