from __future__ import annotations

from dataclasses import replace

import torch

from posecli.networks import get_spec


def test_mean_and_std_are_in_the_order_that_the_network_takes():
    red, green, blue = 0.1, 0.5, 0.9
    images = torch.tensor((red, green, blue)).view(1, 3, 1, 1)
    rgb = replace(get_spec("prs-tiny"), mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 4.0))

    forward = rgb.normalise(images).flatten()
    backward = replace(rgb, bgr=True).normalise(images).flatten()

    torch.testing.assert_close(forward, torch.tensor((red - 0.1, (green - 0.2) / 2, (blue - 0.3) / 4)))
    torch.testing.assert_close(backward, torch.tensor((blue - 0.1, (green - 0.2) / 2, (red - 0.3) / 4)))


def test_normalised_images_are_channels_last_in_memory():
    images = get_spec("prs-tiny").normalise(torch.rand(2, 3, 8, 6))

    assert images.is_contiguous(memory_format=torch.channels_last)
