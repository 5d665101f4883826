"""PoseFix: the place of every official weight, and how it is shown the poses to refine."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from foreign_keys import check_places
from posecli.networks import get_spec
from posecli.networks._count import count_params
from posecli.networks._resnet import ResNet
from posecli.networks.posefix import PoseFix
from tensorflow_names import posefix_place


def test_every_official_weight_has_its_place():
    with torch.device("meta"):
        network = PoseFix()

    assert count_params(network) == 34_053_009
    check_places(network, "keys_posefix_r50_256x192.json", posefix_place)


def test_prior_is_a_wide_gaussian_about_each_visible_point():
    points = torch.tensor([[[100.0, 50.0], [20.0, 30.0]]])
    visible = torch.tensor([[True, False]])

    prior = PoseFix.draw_prior(points, visible, crop_hw=(256, 192))

    assert prior.shape == (1, 2, 256, 192)
    assert prior[0, 0, 50, 100] == 255
    torch.testing.assert_close(prior[0, 0, 50, 107], 255 * torch.tensor(-0.5).exp(), rtol=1e-5, atol=0)
    assert not prior[0, 1].any()
    large = PoseFix.draw_prior(points, visible, crop_hw=(384, 288))
    torch.testing.assert_close(large[0, 0, 59, 100], 255 * torch.tensor(-0.5).exp(), rtol=1e-5, atol=0)


def test_answer_depends_on_the_prior():
    network = PoseFix(partial(ResNet, (1, 1, 1, 1)), width=8).eval()
    images, points = torch.rand(1, 3, 64, 64), torch.full((1, 17, 2), 20.0)

    with torch.inference_mode():
        seen = network(images, PoseFix.draw_prior(points, torch.ones(1, 17) > 0, crop_hw=(64, 64)))[0]
        moved = network(images, PoseFix.draw_prior(points + 20, torch.ones(1, 17) > 0, crop_hw=(64, 64)))[0]

    assert (seen - moved).abs().max() > 1e-3


@pytest.mark.parametrize("name", ["cpn-r50", "posefix-r50"])
def test_norms_keep_the_eps_of_the_official_codes_but_not_their_slow_statistics(name):
    with torch.device("meta"):
        norms = [module for module in get_spec(name).build().modules() if isinstance(module, nn.BatchNorm2d)]

    # the codes' .01 a step leaves a fifth of every layer's start after 150 steps: AP 0 where training had it right
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-9, 0.1)}
