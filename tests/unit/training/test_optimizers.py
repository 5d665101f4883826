"""Muon against singular value decomposition, and which weights it gets."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from posecli.config import DatasetConfig, TrainConfig
from posecli.errors import ConfigError
from posecli.networks import get_spec
from posecli.training.optimizers import Muon, make_optimizers, orthogonal


def config_of(**changes):
    return TrainConfig(network="prs-tiny", datasets=(DatasetConfig(images="x"),), **changes)


@pytest.mark.parametrize("shape", [(20, 60), (60, 20), (30, 30), (1, 8)])
def test_orthogonal_keeps_the_singular_vectors_and_levels_the_values(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, values, vt = torch.linalg.svd(matrix, full_matrices=False)

    found = u.mT @ orthogonal(matrix) @ vt.mT  # diagonal if the vectors are the same

    assert torch.allclose(found, torch.diag(found.diagonal()), atol=1e-9)
    large = values > 0.05 * values.norm()  # smaller ones are on their way up
    assert ((found.diagonal()[large] > 0.6) & (found.diagonal()[large] < 1.3)).all()


def test_orthogonal_takes_zeros():
    assert orthogonal(torch.zeros(4, 6)).abs().max() == 0


def test_muon_finds_what_a_narrow_valley_hides():
    """A quadratic whose curvatures differ 10,000 times: plain descent at the same rate stays far off."""
    wanted = torch.randn(8, 8, generator=torch.Generator().manual_seed(1))
    steepness = torch.logspace(0, -4, 8)[:, None]
    weight = nn.Parameter(torch.zeros(8, 8))
    optimizer = Muon([{"params": [weight], "lr": 0.05}], momentum=0.5)
    for _ in range(300):
        optimizer.zero_grad()
        (steepness * (weight - wanted).square()).sum().backward()
        optimizer.step()

    assert (weight - wanted).abs().mean() < 0.1 * wanted.abs().mean()


def test_decay_shrinks_weights_apart_from_the_step():
    weight = nn.Parameter(torch.full((2, 3, 1, 1), 4.0))
    weight.grad = torch.zeros_like(weight)
    Muon([{"params": [weight], "lr": 0.1, "weight_decay": 0.5}]).step()

    assert torch.allclose(weight, torch.full_like(weight, 3.8))


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_every_weight_is_in_one_group(optimizer):
    network = get_spec("prs-tiny").build()
    network.trunk.blocks[0].requires_grad_(False)
    optimizers = make_optimizers(network, config_of(optimizer=optimizer, learning_rate=1e-2, weight_decay=0.1))
    groups = [group for one in optimizers for group in one.param_groups]

    found = sorted(id(weight) for group in groups for weight in group["params"])
    assert found == sorted(id(weight) for weight in network.parameters() if weight.requires_grad)
    names = {id(weight): name for name, weight in network.named_parameters()}
    for group in groups:
        assert {names[id(weight)].startswith("trunk.") for weight in group["params"]} == {group["rate"] < 1e-2}
        assert {weight.dim() > 1 for weight in group["params"]} == {group["weight_decay"] > 0}


def test_muon_gets_inner_matrices_only():
    network = get_spec("prs-tiny").build()
    _, muon = make_optimizers(network, config_of(optimizer="muon"))
    turned = {id(weight) for group in muon.param_groups for weight in group["params"]}
    names = [name for name, weight in network.named_parameters() if id(weight) in turned]

    assert isinstance(muon, Muon)
    assert not [name for name in names if "head" in name or ".bn." in name]
    assert all(weight.shape[1] > 1 for name, weight in network.named_parameters() if name in names)
    assert sum(network.get_parameter(name).numel() for name in names) > 1_700_000


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(ConfigError, match="adamw or muon"):
        config_of(optimizer="sgd")
