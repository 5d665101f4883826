"""TensorFlow's names of weights and ours, and weights that are the same wherever they are drawn. Needs numpy alone."""

from __future__ import annotations

import re
import zlib

import numpy as np

_LAYERS = {"lateral": "laterals", "tmp": "mixes", "pyramid": "heads", "merge": "merges"}
_BARE = {"out"}  # layers without a batch norm
_UNITS = {"conv1": "reduce", "conv2": "filter", "conv3": "expand", "shortcut": "shortcut"}
_LEAVES = {  # TensorFlow slim's
    "weights": "conv.weight",
    "BatchNorm/gamma": "bn.weight",
    "BatchNorm/beta": "bn.bias",
    "BatchNorm/moving_mean": "bn.running_mean",
    "BatchNorm/moving_variance": "bn.running_var",
}


def resnet_place(name):
    """Return where `trunk`, a `_resnet.ResNet`, holds a layer of slim's `resnet_v1`."""
    if name.endswith("/conv1") and name.count("/") == 1:
        return "trunk.stem"
    found = re.fullmatch(r"resnet_v1_\d+/block(\d)/unit_(\d+)/bottleneck_v1/(\w+)", name)
    return f"trunk.stages.{int(found[1]) - 1}.{int(found[2]) - 1}.{_UNITS[found[3]]}"


def cpn_place(name):
    """Return where `CascadedPyramidNetwork` holds a layer of tf-cpn's."""
    if name.startswith("resnet"):
        return resnet_place(name)
    if found := re.fullmatch(r"(\w+)/res(\d)", name):
        return f"global_net.{_LAYERS[found[1]]}.{int(found[2]) - 2}"
    if found := re.fullmatch(r"res(\d)/refine_conv(\d)/(\w+)", name):
        return f"refine_net.cascades.{int(found[1]) - 2}.{found[2]}.{_UNITS[found[3]]}"
    if found := re.fullmatch(r"final_bottleneck/(\w+)", name):
        return f"refine_net.final.{_UNITS[found[1]]}"
    return {"refine_out": "refine_net.head"}[name]


def posefix_place(name):
    """Return where `PoseFix` holds a layer of PoseFix_RELEASE's."""
    if name.startswith("resnet"):
        return resnet_place(name)
    return {"up1": "deconvs.0", "up2": "deconvs.1", "up3": "deconvs.2", "out": "head"}[name]


def tensorflow_key(name, shape, place):
    """Return our name and shape of a TensorFlow weight.

    Args:
        name: official, without ":0".
        shape: official.
        place: gives our module of an official layer.
    """
    layer, leaf = re.fullmatch(r"(.*?)/(weights|biases|BatchNorm/\w+)", name).groups()
    if layer in _BARE or layer.startswith("merge/"):  # no batch norm
        key = f"{place(layer)}.{'bias' if leaf == 'biases' else 'weight'}"
    else:
        key = f"{place(layer)}.{_LEAVES[leaf]}"
    # HWIO to OIHW; of transposed convolutions HWOI to IOHW
    return key, (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else tuple(shape)


def seeded_tensor(key, shape):
    """Return the float32 weight of this name: always the same, of a size that keeps features alive."""
    generator = np.random.default_rng(zlib.crc32(key.encode()))
    noise = generator.standard_normal(shape, dtype=np.float32)
    if key.endswith("running_var"):
        return 0.5 + noise**2
    if len(shape) == 4:
        return noise * np.float32(np.sqrt(2 / (shape[1] * shape[2] * shape[3])))
    return (1 if key.endswith("bn.weight") else 0) + 0.1 * noise


def seeded_images(channels):
    """Return (1, channels, 64, 96) float32."""
    return np.random.default_rng(0).standard_normal((1, channels, 64, 96), dtype=np.float32)
