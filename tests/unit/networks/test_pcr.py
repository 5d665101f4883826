"""PCR: every level corrects the sum of those before it."""

from __future__ import annotations

from functools import partial

import torch

from posecli.networks._resnet import ResNet
from posecli.networks.pcr import ProgressiveContextRefinement

tiny = partial(ResNet, (1, 1, 1, 1))


def test_a_level_that_finds_nothing_leaves_the_answer_before_it():
    network = ProgressiveContextRefinement(tiny, widths=(16, 16, 16), levels=3).eval()
    with torch.no_grad():
        for layer in (network.last[1].grow, network.last[1].residual):
            layer.bn.weight.zero_()
        for head in network.heads[1:]:
            head.load_state_dict(network.heads[0].state_dict())

        first, second, third = network(torch.rand(1, 3, 64, 64))

    torch.testing.assert_close(second, first, rtol=0, atol=0)
    assert not torch.equal(third, second)


def test_the_auxiliary_task_is_on_half_the_size_in_training_only():
    with torch.device("meta"):
        network, images = ProgressiveContextRefinement(tiny), torch.rand(2, 3, 64, 64)

        assert [stage.shape[-1] for stage in network(images)] == [8, 16, 16]
        assert [stage.shape[-1] for stage in network.eval()(images)] == [16, 16]


def test_one_module_that_keeps_the_size():
    with torch.device("meta"):
        network = ProgressiveContextRefinement(tiny, widths=(48,), levels=1, up=False)

        assert [stage.shape[-1] for stage in network(torch.rand(2, 3, 64, 64))] == [2, 2]
