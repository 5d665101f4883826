"""The mean of weights is the mean, says what it is made of, and is refused for what cannot be averaged."""

from __future__ import annotations

import hashlib
import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from posecli.errors import ConfigError, WeightsError
from posecli.training.average import average_weights


def weights(path, value, *, network="prs-tiny", shape=(2, 3), **metadata):
    tensors = {"stem.conv.weight": torch.full(shape, value, dtype=torch.float16)}
    save_file(tensors, path, {"network": network, **metadata} if network else metadata)
    return path


def test_each_file_counts_as_its_share_says(tmp_path):
    first, second = (
        weights(tmp_path / "a.safetensors", 1.0, step="10"),
        weights(tmp_path / "b.safetensors", 3.0, step="20"),
    )

    facts = average_weights([first, second], [1, 3], tmp_path / "mean.safetensors")

    with safe_open(tmp_path / "mean.safetensors", "pt") as file:
        mean, metadata = file.get_tensor("stem.conv.weight"), file.metadata()
    assert mean.dtype == torch.float16
    assert mean.eq(2.5).all()
    assert facts == metadata
    assert (metadata["network"], metadata["step"]) == ("prs-tiny", "20")
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (first, second)]
    assert json.loads(metadata["averaged"]) == [
        {"sha256": digests[0], "share": 0.25},
        {"sha256": digests[1], "share": 0.75},
    ]


def test_the_mean_may_take_the_place_of_a_file(tmp_path):
    first, second = weights(tmp_path / "a.safetensors", 1.0), weights(tmp_path / "b.safetensors", 2.0)

    average_weights([first, second], [1, 1], first)

    with safe_open(first, "pt") as file:
        assert file.get_tensor("stem.conv.weight").eq(1.5).all()


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"network": "detposenet-tiny"}, "weights of detposenet-tiny, but .*a.safetensors has those of prs-tiny"),
        ({"network": ""}, "does not say which network it is of"),
        ({"shape": (3, 3)}, "stem.conv.weight is 3x3, but prs-tiny wants 2x3"),
        ({"value": float("nan")}, "numbers that are not finite"),
    ],
)
def test_weights_that_do_not_go_together_are_named(other, said, tmp_path):
    first, second = (
        weights(tmp_path / "a.safetensors", 1.0),
        weights(tmp_path / "b.safetensors", **{"value": 1.0} | other),
    )

    with pytest.raises(WeightsError, match=said):
        average_weights([first, second], [1, 1], tmp_path / "mean.safetensors")

    assert not (tmp_path / "mean.safetensors").exists()


@pytest.mark.parametrize(
    ("count", "shares", "said"),
    [
        (1, [1], "found 1 file of weights"),
        (2, [1], "found 1 shares, wanted a positive number for each of 2 files"),
        (2, [1, 0], "wanted a positive number for each of 2 files"),
        (2, [1, float("nan")], "wanted a positive number for each of 2 files"),
        (2, [1, float("inf")], "wanted a positive number for each of 2 files"),
    ],
)
def test_shares_that_make_no_mean_are_refused(count, shares, said, tmp_path):
    paths = [weights(tmp_path / f"{number}.safetensors", 1.0) for number in range(count)]

    with pytest.raises(ConfigError, match=said):
        average_weights(paths, shares, tmp_path / "mean.safetensors")
