from __future__ import annotations

import torch
from torch.nn.functional import batch_norm, conv2d

from posecli.networks.hrnet import ExchangeUnit, HRNetBody


def plain(layer, x, *, stride=1):
    """A ConvBn without its rectifier, from its weights alone."""
    conv, bn = layer.conv, layer.bn
    x = conv2d(x, conv.weight, None, stride, conv.weight.shape[-1] // 2)
    return batch_norm(x, bn.running_mean, bn.running_var, bn.weight, bn.bias)


@torch.no_grad()
def test_exchange_unit_gives_each_resolution_the_sum_of_all():
    unit = ExchangeUnit((4, 8, 16), outputs=3).eval()
    features = [torch.randn(1, 4, 16, 12), torch.randn(1, 8, 8, 6), torch.randn(1, 16, 4, 3)]

    actual = unit(features)

    one, two, three = (branch(x) for branch, x in zip(unit.branches, features, strict=True))
    paths = unit.paths
    twice, four_times = torch.ones(1, 1, 2, 2), torch.ones(1, 1, 4, 4)  # nearest neighbour, as Kronecker products
    first = one + torch.kron(plain(paths[0][1], two), twice) + torch.kron(plain(paths[0][2], three), four_times)
    second = plain(paths[1][0][0], one, stride=2) + two + torch.kron(plain(paths[1][2], three), twice)
    third = plain(paths[2][0][1], plain(paths[2][0][0], one, stride=2).relu(), stride=2)
    third = third + plain(paths[2][1][0], two, stride=2) + three
    for found, expected in zip(actual, (first, second, third), strict=True):
        torch.testing.assert_close(found, expected.relu(), rtol=1e-4, atol=1e-5)


def test_body_is_a_trunk_of_four_resolutions():
    with torch.device("meta"):
        body = HRNetBody(32, outputs=4)
        features = body(torch.rand(1, 3, 64, 96))

    assert body.channels == (32, 64, 128, 256)
    assert [tuple(x.shape[1:]) for x in features] == [(32, 16, 24), (64, 8, 12), (128, 4, 6), (256, 2, 3)]


@torch.no_grad()
def test_body_with_one_output_is_the_same_body():
    whole, part = HRNetBody(4, outputs=4).eval(), HRNetBody(4).eval()
    part.load_state_dict(whole.state_dict(), strict=False)
    images = torch.randn(1, 3, 64, 64)

    assert part.channels == (4,)
    assert part.state_dict().keys() < whole.state_dict().keys()
    assert torch.equal(part(images)[0], whole(images)[0])
