"""What every network of the zoo promises; a new file is covered the moment it exists."""

from __future__ import annotations

import pytest
import torch

from posecli.networks import available, fuse_batch_norm
from posecli.networks._layers import ConvBn
from posecli.skeleton import EDGES

REFINERS = [spec for spec in available().values() if spec.kind == "refiner"]
PROPOSERS = [spec for spec in available().values() if spec.kind == "proposer"]


def shaken(network):
    """Give batch norms statistics that are not the identity, so that folding them is tested."""
    for module in network.modules():
        if isinstance(module, ConvBn):
            module.bn.running_mean.normal_(0, 0.1)
            module.bn.running_var.uniform_(0.5, 2)
    return network


def inputs_of(spec, batch, hw):
    """Return what a network's forward takes, random."""
    prior = (torch.rand(batch, 17, *hw),) if spec.takes_prior else ()
    return torch.rand(batch, 3, *hw), *prior


@pytest.mark.parametrize("spec", REFINERS, ids=lambda spec: spec.name)
def test_refiner_contract(spec):
    height, width = spec.input_hw
    with torch.device("meta"):  # shapes and gradients' ways need no numbers
        network = spec.build()
        stages = network(*inputs_of(spec, 2, spec.input_hw))
        answer = network.eval()(*inputs_of(spec, 1, spec.input_hw))[-1]

    for stage in stages:
        assert stage.shape[:2] == (2, 17)
        assert height / stage.shape[2] == width / stage.shape[3]
    assert [stage.shape[2] for stage in stages] == sorted(stage.shape[2] for stage in stages)
    assert stages[-1].shape == (2, 17, height // spec.codec.stride, width // spec.codec.stride)
    assert answer.shape == (1, *stages[-1].shape[1:])
    assert len(spec.target_sigmas) in {0, len(stages)}
    sum(stage.square().mean() for stage in stages).backward()
    assert not [name for name, weight in network.named_parameters() if weight.grad is None]


@pytest.mark.parametrize("spec", REFINERS, ids=lambda spec: spec.name)
def test_refiner_refuses_sizes_that_it_cannot_halve(spec):
    with torch.device("meta"):
        network, inputs = spec.build(), inputs_of(spec, 1, (spec.input_hw[0] + 1, spec.input_hw[1]))

    with pytest.raises(ValueError, match=f"{spec.input_hw[0] + 1}x{spec.input_hw[1]}"):
        network(*inputs)


@pytest.mark.parametrize("spec", PROPOSERS, ids=lambda spec: spec.name)
def test_proposer_contract(spec):
    network = spec.build()

    raw = network(torch.rand(2, 3, 96, 128))

    cells = sum((96 // stride) * (128 // stride) for stride in (8, 16, 32))
    assert raw.logits.shape == (2, cells)
    assert raw.boxes.shape == (2, cells, 4)
    assert (raw.boxes[..., 2:] > raw.boxes[..., :2]).all()
    assert raw.heatmaps.shape == (2, 17, 24, 32)
    assert raw.pafs.shape == (2, 2 * len(EDGES), 24, 32)
    parts = (raw.logits, raw.boxes, raw.heatmaps, raw.pafs)
    sum(part.square().mean() for part in parts).backward()
    assert not [name for name, weight in network.named_parameters() if weight.grad is None]


@pytest.mark.parametrize("spec", REFINERS + PROPOSERS, ids=lambda spec: spec.name)
def test_folding_batch_norms_changes_no_answer(spec):
    network = shaken(spec.build()).eval()
    inputs = inputs_of(spec, 1, (64, 64))

    with torch.inference_mode():
        before = network(*inputs)
        after = fuse_batch_norm(network)(*inputs)

    if spec.kind == "proposer":
        before, after = (before.logits, before.heatmaps, before.pafs), (after.logits, after.heatmaps, after.pafs)
    for old, new in zip(before, after, strict=True):
        # the folded weights are rounded once more; deep networks add that up
        torch.testing.assert_close(new, old, rtol=1e-3, atol=1e-4 * float(old.abs().max()))


@pytest.mark.parametrize("spec", available().values(), ids=lambda spec: spec.name)
def test_spec_names_its_source_and_a_size_it_can_take(spec):
    assert spec.source
    assert all(side % 32 == 0 for side in spec.input_hw)


def test_names_are_unique():
    names = list(available())
    assert len(names) == len(set(names))
