from __future__ import annotations

import pytest
import torch
from torch import nn

from posecli.networks import get_spec
from posecli.networks._count import count, count_gmacs, count_params


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        (nn.Conv2d(6, 8, 3, stride=2, padding=1), (1, 6, 10, 8), 5 * 4 * 8 * 6 * 9),
        (nn.Conv2d(6, 6, 3, padding=1, groups=6), (1, 6, 10, 8), 10 * 8 * 6 * 9),
        (nn.ConvTranspose2d(6, 8, 4, stride=2, padding=1), (1, 6, 10, 8), 10 * 8 * 6 * 8 * 16),  # on the input grid
        (nn.Linear(7, 9), (5, 7), 5 * 7 * 9),
        (nn.Sequential(nn.BatchNorm2d(6), nn.ReLU(), nn.Upsample(scale_factor=2)), (2, 6, 10, 8), 0),
    ],
)
def test_macs_are_those_of_pencil_and_paper(layer, shape, macs):
    assert count_gmacs(layer.eval(), torch.rand(shape)) == pytest.approx(macs / 1e9, rel=1e-12)


def test_params_leave_statistics_out():
    assert count_params(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))) == 3 * 4 * 9 + 4 + 2 * 4


def test_spec_is_counted_at_its_own_size():
    spec = get_spec("prs-tiny")
    network = spec.build().eval()

    size = count(spec)

    assert size.input_hw == (256, 192)
    assert size.params == count_params(network)
    assert size.gmacs == count_gmacs(network, torch.zeros(1, 3, 256, 192))


def test_a_detector_is_counted_on_as_many_regions_as_it_ever_looks_at():
    size = count(get_spec("fasterrcnn-r50-fpn"))

    assert size.params == 41_755_286
    assert round(size.gmacs, 2) == 134.38  # torchvision's own figure at 800x800
