from __future__ import annotations

import pytest
import torch
from torch.nn.functional import avg_pool2d, conv2d

from posecli.networks import get_spec
from posecli.networks.mspn import MSPN, HierarchicalSplit, SplitBottleneck, Stage


def filtered(layer, x, *, stride=1):
    """A ConvBn with a fresh batch norm in evaluation mode, from its weights alone."""
    return (conv2d(x, layer.conv.weight, layer.conv.bias, stride, 1) / (1 + layer.bn.eps) ** 0.5).relu()


@pytest.mark.parametrize("stride", [1, 2])
@torch.no_grad()
def test_hierarchical_split_filters_each_slice_with_the_one_before(stride):
    split = HierarchicalSplit(16, stride=stride, dilation=1, bias=True).eval()
    x = torch.randn(2, 16, 8, 6)

    actual = split(x)

    slices = [x[:, start : start + 4] for start in (0, 4, 8, 12)]
    first = slices[0] if stride == 1 else avg_pool2d(slices[0], 3, 2, 1)
    second = filtered(split.filters[0], slices[1], stride=stride)
    third = filtered(split.filters[1], slices[2] + second if stride == 1 else slices[2], stride=stride)
    fourth = filtered(split.filters[2], slices[3] + third if stride == 1 else slices[3], stride=stride)
    torch.testing.assert_close(actual, torch.cat((first, second, third, fourth), dim=1))


def test_hierarchical_split_refuses_groups():
    with pytest.raises(ValueError, match="has no groups, got 2"):
        SplitBottleneck(16, 16, 8, groups=2)


@torch.no_grad()
def test_a_stage_hands_its_features_to_the_next_at_every_level():
    network = MSPN(2, blocks=(1, 1, 1, 1), width=0.25).eval()
    images = torch.randn(1, 3, 64, 64)
    before = network(images)
    handed = []

    def record(stage, inputs):
        handed.append(inputs)

    hook = network.stages[1].register_forward_pre_hook(record)
    again = network(images)
    hook.remove()

    x, skips = handed[0]
    assert x.shape == (1, 64, 16, 16)
    assert [tuple(skip.shape[1:]) for skip in skips] == [(256, 16, 16), (512, 8, 8), (1024, 4, 4), (2048, 2, 2)]
    assert all(torch.equal(first, second) for first, second in zip(before, again, strict=True))
    for level in range(4):  # the last answer sees what any level hands over
        changed = [skip if number != level else skip + 1.0 for number, skip in enumerate(skips)]
        assert not torch.allclose(network.stages[1](x, changed)[0][-1], before[-1])


def test_the_last_stage_hands_nothing_over():
    stage = Stage(SplitBottleneck, blocks=(1, 1, 1, 1), width=1.625, hands_over=False, keypoints=3)

    heatmaps, skips, x = stage(torch.randn(2, 64, 16, 16), [None] * 4)

    assert [tuple(heatmap.shape) for heatmap in heatmaps] == [(2, 3, 16, 16)] * 4
    assert skips == [None] * 4
    assert x is None


def test_targets_sharpen_with_the_scale_and_once_more_in_the_last_stage():
    sigmas = get_spec("mspn-3").target_sigmas

    assert sigmas == (2.6, 2.0, 1.7, 1.4) * 2 + (2.0, 1.7, 1.4, 1.1)
    assert get_spec("mspn-3").codec.heatmap_sigma == sigmas[-1]


def test_gradients_reach_every_weight_of_two_stages():
    with torch.device("meta"):
        network = MSPN(2, blocks=(1, 1, 1, 1))
        sum(answer.square().mean() for answer in network(torch.rand(2, 3, 64, 64))).backward()

    assert not [name for name, weight in network.named_parameters() if weight.grad is None]
