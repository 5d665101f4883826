from __future__ import annotations

import pytest
import torch

from posecli.networks.hourglass import Block, Hourglass, StackedHourglass


def test_unused_shortcuts_are_frozen_and_change_nothing():
    network = StackedHourglass(1, width=16).eval()
    images = torch.randn(1, 3, 64, 64)
    before = network(images)[0]

    unused = [block.shortcut for block in network.modules() if isinstance(block, Block) and block.keeps_width]
    for shortcut in unused:
        assert not any(weight.requires_grad for weight in shortcut.parameters())
        torch.nn.init.constant_(shortcut.weight, 7.0)

    assert len(unused) == 15  # 1 in the stem, 13 in the hourglass, 1 after it; two blocks of the stem widen
    assert torch.equal(network(images)[0], before)


def test_eight_stacks_use_what_the_paper_counts():
    with torch.device("meta"):
        network = StackedHourglass(8)

    frozen = sum(weight.numel() for weight in network.parameters() if not weight.requires_grad)
    assert frozen == pytest.approx(7.39e6, rel=1e-3)


def test_odd_sides_come_back_whole():
    assert Hourglass(8, 4).eval()(torch.randn(1, 8, 24, 18)).shape == (1, 8, 24, 18)


def test_later_stacks_see_what_earlier_ones_answered():
    network = StackedHourglass(2, width=16).eval()
    images = torch.randn(1, 3, 64, 64)
    first, second = network(images)

    torch.nn.init.constant_(network.heads[0].bias, 5.0)
    changed_first, changed_second = network(images)

    assert not torch.allclose(changed_first, first)
    assert not torch.allclose(changed_second, second)


def test_small_images_are_refused_by_the_least_side():
    with torch.device("meta"), pytest.raises(ValueError, match="32x64, wants sides that are multiples of 32, 64 or"):
        StackedHourglass(1)(torch.rand(1, 3, 32, 64))


def test_gradients_reach_every_weight_of_two_stacks_that_learns():
    with torch.device("meta"):
        network = StackedHourglass(2, width=16)
        sum(answer.square().mean() for answer in network(torch.rand(2, 3, 64, 64))).backward()

    assert not [name for name, weight in network.named_parameters() if weight.requires_grad and weight.grad is None]
