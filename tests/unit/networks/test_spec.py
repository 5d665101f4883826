from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from posecli.errors import ConfigError
from posecli.networks import get_spec
from posecli.networks._count import count_params


def test_mean_and_std_are_in_the_order_that_the_network_takes():
    red, green, blue = 0.1, 0.5, 0.9
    images = torch.tensor((red, green, blue)).view(1, 3, 1, 1)
    rgb = replace(get_spec("prs-tiny"), mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 4.0))

    forward = rgb.normalise(images).flatten()
    backward = replace(rgb, bgr=True).normalise(images).flatten()

    torch.testing.assert_close(forward, torch.tensor((red - 0.1, (green - 0.2) / 2, (blue - 0.3) / 4)))
    torch.testing.assert_close(backward, torch.tensor((blue - 0.1, (green - 0.2) / 2, (red - 0.3) / 4)))


@pytest.mark.parametrize("white", [1.0, 255.0])
def test_a_network_that_takes_bytes_sees_whole_grey_values(white):
    spec = replace(get_spec("prs-tiny"), mean=(0.0, 0.0, 0.0), std=(1 / 255, 1 / 255, 1 / 255))
    images = torch.tensor((10.4, 10.6, 255.0)).view(1, 3, 1, 1) * (white / 255)

    exact, rounded = (replace(spec, rounded=way).normalise(images, white=white).flatten() for way in (False, True))

    torch.testing.assert_close(exact, torch.tensor((10.4, 10.6, 255.0)))
    torch.testing.assert_close(rounded, torch.tensor((10.0, 11.0, 255.0)))


def test_one_mean_for_all_channels_is_the_same_as_three():
    images = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0)) * 255
    one = replace(get_spec("prs-tiny"), mean=(0.4, 0.4, 0.4), std=(0.2, 0.2, 0.2))
    three = replace(one, mean=(0.4, 0.4, 0.40001))

    torch.testing.assert_close(one.normalise(images, white=255), three.normalise(images, white=255), rtol=0, atol=1e-4)


def test_normalised_images_are_channels_last_in_memory():
    images = get_spec("prs-tiny").normalise(torch.rand(2, 3, 8, 6))

    assert images.is_contiguous(memory_format=torch.channels_last)


def test_options_reach_the_network_and_its_parts():
    spec = get_spec("ccm-r50")

    changed = spec.with_options({"widths": [16, 8, 8], "trunk": {"blocks": [1, 1, 1, 1]}}, input_hw=(128, 96))

    with torch.device("meta"):
        answer = changed.build().eval()(torch.rand(1, 3, 128, 96))[-1]
        assert count_params(changed.build()) < count_params(spec.build()) / 2
    assert answer.shape == (1, 17, 64, 48)  # the trunk is dilated as before
    assert (changed.input_hw, spec.input_hw) == ((128, 96), (256, 192))


def test_options_replace_what_the_zoo_gives_by_place():
    with torch.device("meta"):
        answers = get_spec("hourglass-8").with_options({"stacks": 2, "width": 32}).build()(torch.rand(2, 3, 64, 64))

    assert len(answers) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widht": 3}, "ccm-r50 has no option 'widht'; choose from trunk, widths"),
        ({"trunk": {"depth": 3}}, "ccm-r50: trunk has no option 'depth'; choose from blocks"),
        ({"widths": {"first": 3}}, "ccm-r50: option widths is no part"),
        ({"widths": [16, "x"]}, "ccm-r50 cannot be built with"),
        ({"widths": []}, "ccm-r50 cannot be built with"),
        ({"trunk": 3}, "ccm-r50 cannot be built with .*: 'int' object is not callable"),
    ],
)
def test_options_that_there_are_not_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        get_spec("ccm-r50").with_options(options)
