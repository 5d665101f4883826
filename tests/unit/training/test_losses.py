from __future__ import annotations

import pytest
import torch

from posecli.geometry.heatmaps import HeatmapCodec
from posecli.networks.detposenet import RawProposals, cell_centres
from posecli.training.losses import (
    assign_boxes,
    detection_loss,
    heatmap_loss,
    map_loss,
    place_loss,
    structure_errors,
)


def peaks():
    points = torch.rand(2, 17, 2) * torch.tensor([60.0, 90.0])
    return HeatmapCodec().encode(points, heatmap_hw=(24, 16))


def test_perfect_heatmaps_cost_only_the_floor_of_the_structure_norm():
    target = peaks()

    loss = heatmap_loss(target, target, torch.ones(2, 17), structure=1.0, location=0.0)

    assert float(loss) == pytest.approx(1e-3, abs=1e-6)


def test_unlabelled_keypoints_cost_nothing():
    target, wrong = peaks(), peaks()
    weights = torch.ones(2, 17)
    weights[:, 5] = 0
    wrong[:, :5], wrong[:, 6:] = target[:, :5], target[:, 6:]

    loss = heatmap_loss(wrong, target, weights, structure=0.0, location=0.0, top=8)

    assert float(loss) == 0


def test_hardest_keypoints_weigh_more_than_the_mean():
    target = peaks()
    wrong = target.clone()
    wrong[:, 0] = 1.0
    weights = torch.ones(2, 17)

    mean = heatmap_loss(wrong, target, weights, structure=0.0, location=0.0)
    top = heatmap_loss(wrong, target, weights, structure=0.0, location=0.0, top=4)

    assert float(top) == pytest.approx(float(mean) * 17 / 4, rel=1e-5)


def test_structure_couples_connected_keypoints():
    weights = torch.ones(1, 17)
    quiet = torch.full((1, 17), 0.01, requires_grad=True)
    loud = quiet.detach().clone()
    loud[0, 7] = 1.0  # left elbow
    loud.requires_grad_()

    structure_errors(quiet, weights).backward()
    structure_errors(loud, weights).backward()

    # the wrist's gradient depends on the elbow's error; the other arm's does not
    assert float(loud.grad[0, 9]) < 0.5 * float(quiet.grad[0, 9])
    assert float(loud.grad[0, 10]) == pytest.approx(float(quiet.grad[0, 10]))


def test_map_loss_counts_known_cells_only():
    target = torch.zeros(1, 2, 4, 4)
    maps = torch.ones(1, 2, 4, 4)
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1

    assert float(map_loss(maps, target, mask)) == pytest.approx(0.5)


def raw_of(boxes, logits):
    return RawProposals(logits, boxes, torch.zeros(1), torch.zeros(1))


def test_cells_inside_a_person_are_assigned_to_it_and_others_to_nobody():
    centres, strides = cell_centres(128, 128, device=torch.device("cpu"))
    truth = torch.tensor([[[16.0, 16.0, 56.0, 72.0], [80.0, 64.0, 120.0, 120.0], [0.0, 0.0, 0.0, 0.0]]])
    valid = torch.tensor([[True, True, False]])
    half = strides[:, None] * torch.tensor([2.5, 3.5])
    boxes = torch.cat((centres - half, centres + half), dim=1)[None]

    person, wanted = assign_boxes(raw_of(boxes, torch.zeros(1, len(centres))), truth, valid, centres, strides)

    for number in range(2):
        mine = centres[(wanted[0] > 0) & (person[0] == number)]
        assert 1 <= len(mine) <= 12  # ten, and more where the last are equally good
        assert (mine > truth[0, number, :2]).all()
        assert (mine < truth[0, number, 2:]).all()
    assert not ((person[0] == 2) & (wanted[0] > 0)).any()


def test_a_person_smaller_than_a_cell_still_has_a_cell():
    centres, strides = cell_centres(64, 64, device=torch.device("cpu"))
    truth = torch.tensor([[[17.0, 17.0, 19.0, 19.0]]])
    boxes = torch.cat((centres - 4, centres + 4), dim=1)[None]

    _, wanted = assign_boxes(
        raw_of(boxes, torch.zeros(1, len(centres))), truth, torch.tensor([[True]]), centres, strides
    )

    assert (wanted > 0).any()


def test_ignored_cells_are_not_pushed_down():
    cells = cell_centres(64, 64, device=torch.device("cpu"))
    logits = torch.full((1, len(cells[0])), 3.0, requires_grad=True)
    boxes = torch.cat((cells[0] - 4, cells[0] + 4), dim=1)[None]
    ignore = torch.zeros(1, len(cells[0]), dtype=torch.bool)
    ignore[:, ::2] = True
    nobody = torch.zeros(1, 1, 4)

    score, box = detection_loss(raw_of(boxes, logits), nobody, torch.tensor([[False]]), ignore, cells)
    score.backward()

    assert float(box) == 0
    assert not logits.grad[ignore].any()
    assert (logits.grad[~ignore] > 0).all()


def test_place_loss_agrees_with_a_slow_sum():
    generator = torch.Generator().manual_seed(2)
    logits, cell = torch.randn(1, 1, 4, 5, generator=generator), torch.tensor([[[2.25, 1.0]]])
    share = (logits[0, 0] - logits[0, 0].logsumexp((0, 1))).exp()
    entropy = -(0.75 * share[1, 2].log() + 0.25 * share[1, 3].log())
    x = sum(share[row, column] * column for row in range(4) for column in range(5))
    y = sum(share[row, column] * row for row in range(4) for column in range(5))

    loss = place_loss(logits, cell, torch.ones(1, 1))

    torch.testing.assert_close(loss, entropy + (x - 2.25).abs() + (y - 1).abs(), rtol=0, atol=1e-5)
    assert float(place_loss(logits, cell, torch.zeros(1, 1))) == 0
