from __future__ import annotations

import pytest
import torch
from torch.nn.functional import batch_norm, conv2d, max_pool2d

from posecli.networks._layers import ConvBn, DeconvBn, fuse_batch_norm
from posecli.networks._resnet import Bottleneck, ResNet, resnet50, resnet101, resnet152, resnext50


def plain(layer, x, *, stride=1):
    """ConvBn without its rectifier, from its weights alone."""
    conv, bn = layer.conv, layer.bn
    x = conv2d(x, conv.weight, conv.bias, stride, conv.weight.shape[-1] // 2)
    return batch_norm(x, bn.running_mean, bn.running_var, bn.weight, bn.bias, eps=1e-5)


def shaken(network):
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    return network.eval()


# torchvision's parameter counts, less the classifier's 2,049,000
@pytest.mark.parametrize(
    ("build", "count"),
    [(resnet50, 23_508_032), (resnet101, 42_500_160), (resnet152, 58_143_808), (resnext50, 22_979_904)],
)
def test_trunks_have_torchvisions_sizes(build, count):
    with torch.device("meta"):
        trunk = build()

    assert sum(weight.numel() for weight in trunk.parameters()) == count


def test_taps_have_the_strides_and_channels_they_claim():
    with torch.device("meta"):
        taps = resnet50()(torch.rand(1, 3, 64, 96))

    assert [tuple(tap.shape[1:]) for tap in taps] == [(256, 16, 24), (512, 8, 12), (1024, 4, 6), (2048, 2, 3)]


@pytest.mark.parametrize(("dilated", "sizes"), [(1, (16, 8, 4, 4)), (2, (16, 8, 8, 8)), (3, (16, 16, 16, 16))])
def test_dilated_stages_keep_the_size_before(dilated, sizes):
    with torch.device("meta"):
        taps = resnet50(dilated=dilated)(torch.rand(1, 3, 64, 64))

    assert tuple(tap.shape[-1] for tap in taps) == sizes


def test_dilation_sees_every_second_pixel_of_the_strided_trunk():
    torch.manual_seed(0)
    strided = shaken(ResNet((1, 1, 1, 1)))
    dilated = ResNet((1, 1, 1, 1), dilated=1).eval()
    dilated.load_state_dict(strided.state_dict())
    images = torch.rand(1, 3, 64, 64)

    with torch.no_grad():
        coarse, fine = strided(images)[3], dilated(images)[3]

    torch.testing.assert_close(fine[..., ::2, ::2], coarse, rtol=1e-4, atol=1e-5)


def test_block_strides_in_its_3x3():
    torch.manual_seed(0)
    block, x = shaken(Bottleneck(16, 32, 8, stride=2)), torch.rand(2, 16, 10, 8)

    with torch.no_grad():
        actual = block(x)
        inner = plain(block.filter, plain(block.reduce, x).relu(), stride=2).relu()
        expected = (plain(block.expand, inner) + plain(block.shortcut, x, stride=2)).relu()

    torch.testing.assert_close(actual, expected)


def test_stem_pools_three_by_three():
    torch.manual_seed(0)
    trunk, images = shaken(ResNet((1, 1, 1, 1))), torch.rand(1, 3, 32, 64)

    with torch.no_grad():
        pooled = max_pool2d(plain(trunk.stem, images, stride=2).relu(), 3, 2, 1)
        expected, actual = trunk.stages[0](pooled), trunk(images)[0]

    torch.testing.assert_close(actual, expected)


def test_sides_that_cannot_be_halved_are_refused_by_the_multiple():
    with torch.device("meta"), pytest.raises(ValueError, match="48x64, wants sides that are multiples of 32"):
        resnet50()(torch.rand(1, 3, 48, 64))


@pytest.mark.parametrize("layer", [ConvBn(6, 8, stride=2, bias=True), ConvBn(6, 8, dilation=2), DeconvBn(6, 8)])
def test_folding_keeps_the_answer_of_either_direction(layer):
    torch.manual_seed(0)
    layer, x = shaken(layer), torch.rand(2, 6, 8, 8)

    with torch.no_grad():
        before = layer(x)
        after = fuse_batch_norm(layer)(x)

    assert isinstance(layer.bn, torch.nn.Identity)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
