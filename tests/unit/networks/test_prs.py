"""What the sizes of PRS differ in: stacks and keypoint sets."""

from __future__ import annotations

import pytest
import torch

from posecli.networks.prs import PoseRefinementNet, beside


@pytest.mark.parametrize("stacks", [1, 3])
def test_every_hourglass_answers_at_every_scale_and_the_regression_last(stacks):
    with torch.device("meta"):
        answers = PoseRefinementNet(stacks=stacks, keypoints=14)(torch.rand(2, 3, 128, 96))

    heights = [answer.shape[2] for answer in answers]
    assert heights == [8] * stacks + [16] * stacks + [32] * stacks + [32]
    assert all(answer.shape[:2] == (2, 14) for answer in answers)


def test_without_regression_the_finest_hourglass_answers():
    with torch.device("meta"):
        network = PoseRefinementNet(regression=False)
        answers = network(torch.rand(1, 3, 128, 96))

    assert [answer.shape[2] for answer in answers] == [8, 16, 32]
    assert not [name for name, _ in network.named_parameters() if name.startswith("msr")]


def test_a_later_hourglass_sees_the_heatmaps_before_it():
    network = PoseRefinementNet(stacks=2).eval()
    images = torch.rand(1, 3, 64, 64)

    with torch.no_grad():
        before = network(images)
        network.heads[0].bias += 5.0  # of the first hourglass's coarsest heatmaps
        after = network(images)

    changed = [not torch.allclose(old, new) for old, new in zip(before, after, strict=True)]
    # coarse to fine, two hourglasses each: of the first hourglass only its own coarsest heatmaps changed
    assert changed == [True, True, False, True, False, True, True]


def test_heatmaps_are_brought_to_the_features_size():
    features, coarse = torch.zeros(1, 2, 4, 6), torch.tensor([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]])

    together = beside(features, [coarse, torch.ones(1, 1, 4, 6)])

    assert together.shape == (1, 4, 4, 6)
    assert together[0, 2, 0].tolist() == [1, 1, 2, 2, 3, 3]
    assert together[0, 3].min() == 1
