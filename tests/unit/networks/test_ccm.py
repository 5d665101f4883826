"""CCM: the paper's sizes, what a mixer computes, and the parts that Table 2 switches."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.nn.functional import interpolate, relu

from posecli.networks import get_spec
from posecli.networks._count import count_params
from posecli.networks._resnet import ResNet
from posecli.networks.ccm import CascadedContextMixer, ContextMixer

tiny = partial(ResNet, (1, 1, 1, 1))


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("ccm-r50", 40.7),
        ("ccm-rx50", 40.1),
        ("ccm-r152-384x288", 63.5),
        ("ccm-hrnet-w32", 28.6),
        ("ccm-hrnet-w48-384x288", 63.7),
        ("ccm-mobilenetv2", 10.1),
        ("ccm-shufflenetv2", 9.72),
        ("simplebaseline-mobilenetv2", 9.57),
        ("simplebaseline-shufflenetv2", 8.78),
    ],
)
def test_sizes_are_the_papers(name, millions):
    with torch.device("meta"):
        network = get_spec(name).build()

    assert count_params(network) / 1e6 == pytest.approx(millions, rel=0.005)


def test_a_mixer_adds_the_weighed_context_to_the_enlarged_features():
    mixer = ContextMixer(8, 16).eval()
    x = torch.rand(2, 8, 6, 4)

    with torch.inference_mode():
        actual = mixer(x)
        views = [view.bn(view.conv(x)).clamp(min=0) for view in mixer.hdc.views]
        grown = mixer.grow.bn(mixer.grow.conv(torch.cat(views, dim=1)))
        pooled = x.mean(dim=(2, 3), keepdim=True)
        weights = mixer.se.excite(mixer.se.squeeze(pooled).clamp(min=0)).sigmoid()
        kept = mixer.residual(interpolate(x, scale_factor=2.0, mode="bilinear"))
        expected = relu(weights * grown + kept)

    assert actual.shape == (2, 16, 12, 8)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)
    assert [view.conv.dilation[0] for view in mixer.hdc.views] == [1, 2, 3, 4]


def test_a_mixer_can_keep_the_size():
    assert ContextMixer(8, 16, up=False)(torch.rand(2, 8, 6, 4)).shape == (2, 16, 6, 4)


def test_dilation_doubles_the_heatmaps():
    with torch.device("meta"):
        plain, dilated = (CascadedContextMixer(partial(tiny, dilated=number)) for number in (0, 1))
        images = torch.rand(2, 3, 64, 64)

        assert plain.eval()(images)[-1].shape[-1] == 16
        assert dilated.eval()(images)[-1].shape[-1] == 32


def test_the_auxiliary_decoder_answers_in_training_only():
    with torch.device("meta"):
        network, images = CascadedContextMixer(partial(tiny, dilated=1)), torch.rand(2, 3, 64, 64)

        assert len(network(images)) == 2
        assert len(network.eval()(images)) == 1


@pytest.mark.parametrize("switched", ["se", "hdc", "auxiliary"])
def test_each_part_can_be_left_out(switched):
    with torch.device("meta"):
        whole, less = CascadedContextMixer(tiny), CascadedContextMixer(tiny, **{switched: False})

        assert less.eval()(torch.rand(1, 3, 64, 64))[-1].shape == (1, 17, 16, 16)
    names = {name for name, _ in less.named_parameters()}
    assert not [name for name in names if switched in name.split(".")]
    assert [name for name, _ in whole.named_parameters() if switched in name.split(".")]
