from __future__ import annotations

import torch
from torch import nn

from posecli.networks._layers import ConvBn
from posecli.networks._mobilenet import MobileNetV2, load_folded


def folded_random(trunk):
    """Random weights and biases as another tool would have folded them, of a size that keeps signals alive."""
    layers = [module for module in trunk.modules() if isinstance(module, ConvBn)]
    pairs = []
    for layer in layers:
        weight = torch.empty_like(layer.conv.weight)
        nn.init.kaiming_normal_(weight)
        pairs.append((weight, 0.1 * torch.randn(len(weight))))
    return layers, pairs


def test_folded_weights_keep_their_function_in_both_modes():
    trunk = MobileNetV2()
    layers, pairs = folded_random(trunk)
    images = torch.rand(8, 3, 64, 64) * 2 - 1
    load_folded(trunk, pairs, images)
    plain = MobileNetV2().eval()
    for layer, (weight, bias) in zip([m for m in plain.modules() if isinstance(m, ConvBn)], pairs, strict=True):
        layer.conv.weight.data.copy_(weight)
        layer.conv.bias = nn.Parameter(bias)
        layer.bn = nn.Identity()

    with torch.no_grad():
        expected = plain(images)
        evaluated = trunk.eval()(images)
        trained = trunk.train()(images)

    assert len(layers) == len(pairs)
    for want, mode_eval, mode_train in zip(expected, evaluated, trained, strict=True):
        scale = float(want.abs().max())
        torch.testing.assert_close(mode_eval, want, rtol=1e-3, atol=1e-3 * scale)
        torch.testing.assert_close(mode_train, want, rtol=1e-2, atol=1e-2 * scale)


def test_frozen_blocks_keep_weights_and_statistics():
    trunk = MobileNetV2()
    trunk.freeze(4)
    trunk.train()
    before = {name: tensor.clone() for name, tensor in trunk.state_dict().items()}

    sum(tap.square().mean() for tap in trunk(torch.rand(2, 3, 64, 64))).backward()
    torch.optim.SGD([w for w in trunk.parameters() if w.requires_grad], lr=0.1).step()

    changed = {
        name.split(".")[1] for name, tensor in trunk.state_dict().items() if not torch.equal(tensor, before[name])
    }
    assert changed == {str(block) for block in range(4, 17)}


def test_taps_have_the_strides_and_channels_they_claim():
    taps = MobileNetV2()(torch.rand(1, 3, 64, 96))

    assert [tuple(tap.shape) for tap in taps] == [(1, 24, 16, 24), (1, 32, 8, 12), (1, 96, 4, 6), (1, 160, 2, 3)]
