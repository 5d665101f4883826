"""A training starts from a classifier's trunk, every tensor accounted for."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
import torch

from posecli.errors import WeightsError
from posecli.networks import get_spec
from posecli.networks._weights import weights_of
from posecli.training.start import begin

SPEC = get_spec("simplebaseline-r50").with_options({"trunk": {"blocks": [1, 1, 1, 1]}, "width": 16})
IMAGES = torch.zeros(1, 3, 64, 64)


def torchvision_name(ours):
    """Name a tensor of our trunk as torchvision does."""
    parts = {"shortcut.conv": "downsample.0", "shortcut.bn": "downsample.1"}
    for number, part in enumerate(("reduce", "filter", "expand"), start=1):
        parts |= {f"{part}.conv": f"conv{number}", f"{part}.bn": f"bn{number}"}
    if stem := re.fullmatch(r"stem\.(conv|bn)\.(\w+)", ours):
        return f"{stem[1]}1.{stem[2]}"
    match = re.fullmatch(r"stages\.(\d)\.(\d+)\.(\w+\.\w+)\.(\w+)", ours)
    return f"layer{int(match[1]) + 1}.{match[2]}.{parts[match[3]]}.{match[4]}"


def classifier():
    """A ResNet classifier with random weights."""
    torch.manual_seed(5)
    trunk = weights_of(SPEC.build().trunk)
    tensors = {torchvision_name(name): torch.rand_like(value) for name, value in trunk.items()}
    classes = {"fc.weight": torch.rand(1000, 2048), "fc.bias": torch.rand(1000)}
    return {**tensors, **classes, "bn1.num_batches_tracked": torch.tensor(7)}


def test_a_resnet_classifier_becomes_the_trunk():
    network, start = SPEC.build(), classifier()
    before = {name: value.clone() for name, value in weights_of(network).items()}

    begin(network, start, replace(SPEC, bgr=False), IMAGES)

    after = weights_of(network)
    for name, value in weights_of(network.trunk).items():
        assert torch.equal(value, start[torchvision_name(name)])
    rest = [name for name in before if not name.startswith("trunk.")]
    assert rest
    assert all(torch.equal(before[name], after[name]) for name in rest)


def test_a_network_that_takes_blue_first_gets_the_filters_turned():
    network, start = SPEC.build(), classifier()

    begin(network, start, replace(SPEC, bgr=True), IMAGES)

    assert torch.equal(network.trunk.stem.conv.weight, start["conv1.weight"].flip(1))


def test_another_trunk_is_refused_by_name():
    start = classifier()
    with pytest.raises(WeightsError, match="a ResNet, but hrnet-w32 has no such trunk"):
        begin(torch.nn.Identity(), start, get_spec("hrnet-w32"), IMAGES)
    with pytest.raises(WeightsError, match=r"layer1\.1.*the trunk of simplebaseline-r50 does not know"):
        begin(SPEC.build(), {**start, "layer1.1.conv1.weight": torch.zeros(1)}, SPEC, IMAGES)
    del start["layer3.0.bn2.bias"]
    with pytest.raises(WeightsError, match="lacks what the trunk of simplebaseline-r50 calls"):
        begin(SPEC.build(), start, SPEC, IMAGES)
