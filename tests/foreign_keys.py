"""Our networks against public implementations' weights, by the lists of their names and shapes in ../shared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tensorflow_names import seeded_tensor, tensorflow_key

FOLDER = Path(__file__).parents[2] / "shared" / "foreign_keys"


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
        key, wanted = tensorflow_key(name, shape, place)
        assert own.pop(key) == wanted, (name, key)
    assert not own


def fill_seeded(network):
    """Give a network the weights of `seeded_tensor`."""
    own = {key: value for key, value in network.state_dict().items() if "num_batches" not in key}
    seeded = {key: torch.from_numpy(seeded_tensor(key, tuple(value.shape))) for key, value in own.items()}
    network.load_state_dict(seeded, strict=False)
    return network.eval()
