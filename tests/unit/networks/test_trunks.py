"""Trunks: as large as the public ones without their classifiers, features at the four strides."""

from __future__ import annotations

import pytest
import torch

from posecli.networks._count import count_params
from posecli.networks._inception import InceptionResNetV2
from posecli.networks._mobilenet import MobileNetV2
from posecli.networks._shufflenet import ShuffleNetV2


@pytest.mark.parametrize(
    ("trunk", "params"),
    [
        # torchvision's, timm's, less a classifier of 1000 classes
        (lambda: MobileNetV2(whole=True), 3_504_872 - 1281 * 1000),
        (ShuffleNetV2, 3_503_624 - 1025 * 1000),
        (InceptionResNetV2, 55_843_464 - 1537 * 1000),
    ],
    ids=["mobilenet-v2", "shufflenet-v2-1.5", "inception-resnet-v2"],
)
def test_trunk(trunk, params):
    with torch.device("meta"):
        network = trunk()
        features = network(torch.rand(1, 3, 128, 96))

    assert count_params(network) == params
    assert [tuple(x.shape[1:]) for x in features] == [
        (channels, 128 // stride, 96 // stride)
        for channels, stride in zip(network.channels, (4, 8, 16, 32), strict=True)
    ]
    with torch.device("meta"), pytest.raises(ValueError, match="100x96"):
        network(torch.rand(1, 3, 100, 96))
