"""Public implementations' weights, by the lists of their names and shapes in ../shared, against our networks'."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "shared" / "foreign_keys"
UNITS = {"conv1": "reduce", "conv2": "filter", "conv3": "expand", "shortcut": "shortcut"}
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
    return f"trunk.stages.{int(found[1]) - 1}.{int(found[2]) - 1}.{UNITS[found[3]]}"


def check_places(network, file_name, place):
    """Check that a TensorFlow network's weights and ours are one to one, with the same shapes.

    Args:
        network: ours.
        file_name: of the list of `[name, shape, dtype]`.
        place: gives our module of an official layer.
    """
    path = FOLDER / file_name
    if not path.is_file():
        pytest.skip(f"{path}: no list of the official weights beside this repository")
    own = {key: tuple(value.shape) for key, value in network.state_dict().items() if "num_batches" not in key}
    for name, shape, _ in json.loads(path.read_text()):
        layer, leaf = re.fullmatch(r"(.*?)/(weights|biases|BatchNorm/\w+)", name).groups()
        module = place(layer)
        bare = f"{module}.weight" in own  # a convolution without a batch norm
        key = f"{module}.{'bias' if leaf == 'biases' else 'weight' if bare else _LEAVES[leaf]}"
        if len(shape) == 4:
            shape = (shape[3], shape[2], *shape[:2])  # noqa: PLW2901 - HWIO to OIHW; of transposed ones HWOI to IOHW
        assert own.pop(key) == tuple(shape), (name, key)
    assert not own
