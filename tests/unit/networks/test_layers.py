import pytest
import torch
from torch import nn

from posecli.networks import get_spec, random_network
from posecli.networks._layers import ConvBn, fuse_batch_norm, join_rectifiers

CPU_LIBRARY = pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_convolution_pointwise"), reason="torch was built without oneDNN"
)


def layers():
    """Every kind of layer that is joined, with statistics that move what comes through."""
    torch.manual_seed(0)
    network = nn.Sequential(
        ConvBn(3, 8, stride=2, activation="relu6"),
        ConvBn(8, 8, stride=2, groups=8, activation="relu6"),
        ConvBn(8, 12, 1, activation=None),
        ConvBn(12, 12, (3, 1), dilation=2),
    )
    for layer in network:
        layer.bn.running_mean.normal_()
        layer.bn.weight.data.mul_(3)
    return network.eval()


@CPU_LIBRARY
def test_joined_layers_answer_as_before():
    network, images = fuse_batch_norm(layers()), torch.rand(2, 3, 32, 24)
    with torch.inference_mode():
        expected = network(images)

        answer = join_rectifiers(network, torch.float32)(images)

    assert expected.count_nonzero() < expected.numel()  # the rectifiers have something to do
    torch.testing.assert_close(answer, expected)


@CPU_LIBRARY
def test_joined_layers_compute_in_the_type_asked_for():
    network, images = fuse_batch_norm(layers()), torch.rand(2, 3, 32, 24)
    with torch.inference_mode():
        expected = network(images)

        answer = join_rectifiers(network, torch.bfloat16)(images)

    assert answer.dtype == torch.bfloat16
    torch.testing.assert_close(answer.float(), expected, rtol=0.05, atol=0.05)


def test_layers_that_still_have_batch_norms_are_left_alone():
    network, images = layers(), torch.rand(1, 3, 16, 16)
    expected = network(images)

    assert torch.equal(join_rectifiers(network, torch.bfloat16)(images), expected)


@CPU_LIBRARY
@pytest.mark.parametrize("name", ["prs-tiny", "detposenet-tiny"])
def test_whole_networks_answer_as_before(name):
    spec, images = get_spec(name), torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        before = random_network(spec)(images)
        after = join_rectifiers(random_network(spec), torch.float32)(images)

    before, after = (answer[-1] if isinstance(answer, tuple) else answer.heatmaps for answer in (before, after))
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
