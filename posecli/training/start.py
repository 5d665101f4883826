"""What a training starts from: weights of the same network, or a trunk that knows ImageNet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from posecli.errors import WeightsError
from posecli.networks import ModelSpec
from posecli.networks._foreign import translate
from posecli.networks._layouts import RESNET_TRUNK
from posecli.networks._mobilenet import MobileNetV2, load_folded
from posecli.networks._resnet import ResNet
from posecli.networks._weights import fill, read_weights, weights_of


def read_start(path: Path) -> dict[str, Tensor]:
    """Read start weights.

    Args:
        path: .safetensors of a network, a .pth dict `convs.N.weight`, `convs.N.bias` of a folded MobileNet-v2, or a
            ResNet classifier in torchvision's names.

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
    trunk = getattr(network, "trunk", None)
    if RESNET_TRUNK.mark in start:
        _begin_resnet(trunk, start, spec)
        return
    if "convs.0.weight" not in start:
        fill(network, start, where="start weights", name=spec.name)
        return
    if not isinstance(trunk, MobileNetV2):
        raise WeightsError(f"start weights: a folded MobileNet-v2, but {spec.name} has no such trunk")
    try:
        count = sum(key.endswith(".weight") for key in start)
        folded = [(start[f"convs.{n}.weight"].float(), start[f"convs.{n}.bias"].float()) for n in range(count)]
        load_folded(trunk, folded, images.contiguous())
    except (KeyError, ValueError, RuntimeError) as error:
        raise WeightsError(f"start weights: no folded MobileNet-v2 ({error})") from error


def _begin_resnet(trunk: object, start: Mapping[str, Tensor], spec: ModelSpec) -> None:
    if not isinstance(trunk, ResNet):
        raise WeightsError(f"start weights: a ResNet, but {spec.name} has no such trunk")
    whose = f"the trunk of {spec.name}"
    tensors, _ = translate(start, weights_of(trunk), RESNET_TRUNK, where="start weights", name=whose)
    if spec.bgr:  # torchvision's classifiers take red first
        tensors["stem.conv.weight"] = tensors["stem.conv.weight"].flip(1)
    fill(trunk, tensors, where="start weights", name=whose)
