"""The two kinds of person branch, and keypoint sets of other sizes."""

from __future__ import annotations

import pytest
import torch

from posecli.geometry.roi import anchors
from posecli.networks import get_spec
from posecli.networks.detposenet import DetPoseNet, TwoStages


def test_the_keypoint_set_is_free():
    with torch.device("meta"):
        raw = DetPoseNet(keypoints=14, limbs=13)(torch.rand(1, 3, 64, 96))

    assert raw.heatmaps.shape == (1, 14, 16, 24)
    assert raw.pafs.shape == (1, 26, 16, 24)


def test_full_size_answers_for_its_regions_and_shows_the_first_stage():
    with torch.device("meta"):
        raw = get_spec("detposenet-base").build()(torch.rand(2, 3, 128, 96))

    anchors_of = (16 * 12 + 8 * 6 + 4 * 3) * 6
    assert raw.logits.shape == (2, 100)
    assert raw.boxes.shape == (2, 100, 4)
    assert raw.regions.anchors.shape == (anchors_of, 4)
    assert raw.regions.logits.shape == (2, anchors_of)
    assert raw.regions.shifts.shape == (2, anchors_of, 4)
    assert raw.heatmaps.shape == (2, 17, 32, 24)


@pytest.fixture
def stages():
    """A second stage that leaves boxes where they are and likes all the same; no first stage yet."""
    branch = TwoStages(4, count=5).requires_grad_(False)
    branch.head.shift.weight.zero_()
    branch.head.shift.bias.zero_()
    del branch.rpn
    return branch


def first_stage(hot):
    """Say `logit` for anchors by (height of the level, row, column, shape), little for all others, and move nothing."""

    def predict(level):
        count, _, height, width = level.shape
        logits = torch.full((count, height, width, 6), -9.0)
        for (of_height, row, column, shape), logit in hot.items():
            if of_height == height:
                logits[:, row, column, shape] = logit
        return logits.view(count, -1), torch.zeros(count, height * width * 6, 4)

    return predict


def levels():
    return [torch.rand(1, 4, side, side) for side in (16, 8, 4)]


def test_the_best_regions_get_a_closer_look_best_first(stages):
    stages.rpn = first_stage({(16, 5, 5, 0): 2.0, (4, 2, 2, 1): 4.0, (8, 3, 3, 5): 3.0})

    _, boxes, regions = stages(levels())

    assert boxes.shape == (1, 5, 4)
    coarse = anchors((4, 4), stride=32, sizes=(96.0, 160.0, 256.0), ratios=(1.0, 2.5)).view(4, 4, 6, 4)
    torch.testing.assert_close(boxes[0, 0], coarse[2, 2, 1])
    middle = anchors((8, 8), stride=16, sizes=(48.0, 80.0, 128.0), ratios=(1.0, 2.5)).view(8, 8, 6, 4)
    torch.testing.assert_close(boxes[0, 1], middle[3, 3, 5])
    assert regions.logits.shape == (1, (256 + 64 + 16) * 6)


def test_a_neighbour_of_the_same_shape_that_scores_lower_is_no_candidate(stages):
    stages.rpn = first_stage({(16, 5, 5, 0): 2.0, (16, 5, 6, 0): 1.5, (16, 5, 6, 1): 1.0})

    _, boxes, _ = stages(levels())

    fine = anchors((16, 16), stride=8, sizes=(24.0, 40.0, 64.0), ratios=(1.0, 2.5)).view(16, 16, 6, 4)
    torch.testing.assert_close(boxes[0, :2], torch.stack((fine[5, 5, 0], fine[5, 6, 1])))


def test_what_is_no_candidate_is_surely_nobody(stages):
    stages.count = 3000

    stages.rpn = lambda level: (
        torch.arange(level.shape[2] ** 2 * 6.0)[None],
        torch.zeros(1, level.shape[2] ** 2 * 6, 4),
    )
    logits, _, _ = stages(levels())

    # logits that rise from cell to cell leave one peak a shape and level
    assert int((logits > -20).sum()) == 6 * 3
    assert logits.sigmoid()[logits == -20].max() < 1e-8
