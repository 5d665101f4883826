"""Who a box should find, and that both stages learn it."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from posecli.config import LossConfig
from posecli.geometry.boxes import pairwise_iou
from posecli.networks import get_spec
from posecli.networks._layers import ConvBn
from posecli.networks.detposenet import DetPoseNet, RawProposals, TwoStages
from posecli.training.detection import People, match, two_stage_loss
from posecli.training.tasks import ProposerTask

PERSON = torch.tensor([[[10.0, 10, 30, 50]]])
YES, NO = torch.tensor([[True]]), torch.tensor([[False]])


def people(boxes=PERSON, *, valid=YES, unknown=NO, complete=True):
    return People(boxes, valid, unknown, torch.tensor([complete]))


# IoU with the person: 1, 3/4, 1/2, 1/4, 0
CANDIDATES = torch.tensor([[[10.0, 10, 30, end] for end in (50, 40, 30, 20)] + [[60.0, 60, 80, 99]]])


def test_boxes_are_a_person_nobody_or_neither_by_iou():
    person, label = match(CANDIDATES, people(), sure=0.7, none=0.3)

    assert label.tolist() == [[1, 1, -1, 0, 0]]
    assert person[label == 1].tolist() == [0, 0]


def test_a_persons_best_box_is_that_person_unless_it_hardly_touches():
    assert match(CANDIDATES[:, 2:], people(), sure=0.7, none=0.3)[1].tolist() == [[1, 0, 0]]
    assert match(CANDIDATES[:, 4:], people(), sure=0.7, none=0.3)[1].tolist() == [[0]]


def test_what_is_not_known_counts_neither_way():
    crowd = people(valid=NO, unknown=YES)

    assert match(CANDIDATES, crowd, sure=0.7, none=0.3)[1].tolist() == [[-1, -1, -1, -1, 0]]
    assert match(CANDIDATES, people(complete=False), sure=0.7, none=0.3)[1].tolist() == [[1, 1, -1, -1, -1]]


def test_padding_is_nobody():
    boxes = torch.cat((PERSON, torch.zeros(1, 2, 4)), dim=1)

    person, label = match(CANDIDATES, people(boxes, valid=torch.tensor([[True, False, False]])), sure=0.7, none=0.3)

    assert label.tolist() == [[1, 1, -1, 0, 0]]
    assert person[label == 1].tolist() == [0, 0]


class SmallTrunk(torch.nn.Module):
    """Four levels for the price of none."""

    channels = (8, 8, 8, 8)

    def __init__(self):
        super().__init__()
        self.steps = torch.nn.ModuleList(
            ConvBn(3 if number == 0 else 8, 8, stride=4 if number == 0 else 2) for number in range(4)
        )

    def forward(self, x):
        levels = []
        for step in self.steps:
            x = step(x)
            levels.append(x)
        return levels


def bright_rectangles(boxes, side):
    images = torch.full((len(boxes), 3, side, side), -1.0)
    for image, (left, top, right, bottom) in zip(images, boxes[:, 0].long().tolist(), strict=True):
        image[:, top:bottom, left:right] = 1.0
    return images


def test_both_stages_learn_where_people_are():
    network = DetPoseNet(SmallTrunk, partial(TwoStages, count=20, hidden=64), widths=(8, 8, 8), head=16)
    boxes = torch.tensor([[[16.0, 8, 48, 88]], [[60.0, 30, 110, 120]], [[30.0, 60, 62, 124]], [[70.0, 4, 120, 56]]])
    truth = People(boxes, torch.ones(4, 1).bool(), torch.zeros(4, 1).bool(), torch.ones(4).bool())
    images = bright_rectangles(boxes, 128)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    history = []

    for _ in range(60):
        parts = two_stage_loss(network(images), truth)
        optimizer.zero_grad()
        sum(parts.values()).backward()
        optimizer.step()
        history.append({name: float(part.detach()) for name, part in parts.items()})

    first, last = history[0], history[-1]
    wanted = {"region_score": 0.5, "region_box": 0.9, "score": 0.5, "box": 0.7}
    assert all(last[name] < share * first[name] for name, share in wanted.items()), (first, last)
    with torch.no_grad():
        raw = network(images)
    best = raw.boxes[torch.arange(4), raw.logits.argmax(dim=1)]
    assert float(pairwise_iou(best, boxes[:, 0]).diagonal().min()) > 0.5


def test_a_batch_of_nobody_has_a_score_loss_only():
    network = DetPoseNet(SmallTrunk, partial(TwoStages, count=20, hidden=64), widths=(8, 8, 8), head=16)

    parts = two_stage_loss(network(torch.rand(1, 3, 64, 64)), people(valid=NO))

    assert parts["region_box"] == parts["box"] == 0
    assert parts["region_score"] > 0
    assert parts["score"] > 0
    sum(parts.values()).backward()


def test_a_proposers_task_weighs_the_boxes_of_both_stages():
    network = DetPoseNet(SmallTrunk, partial(TwoStages, count=20, hidden=64), widths=(8, 8, 8), head=16).eval()
    task = ProposerTask.__new__(ProposerTask)
    task.loss, task.spec = LossConfig(box=3.0), get_spec("detposenet-base")
    truth = people()
    batch = {
        "images": torch.rand(1, 3, 64, 64),
        "points": torch.rand(1, 1, 17, 2) * 60,
        "weights": torch.ones(1, 1, 17),
    }
    batch |= {"boxes": truth.boxes, "valid": truth.valid, "unknown": truth.unknown, "complete": truth.complete}

    with torch.no_grad():
        losses = task.losses(network, batch)
        parts = two_stage_loss(network(batch["images"]), truth)

    assert set(losses) == {*parts, "heatmaps", "pafs"}
    for name, part in parts.items():
        torch.testing.assert_close(losses[name], part * (3 if name.endswith("box") else 1))


def test_a_network_of_one_stage_has_another_loss():
    raw = RawProposals(torch.zeros(1, 3), torch.zeros(1, 3, 4), torch.zeros(1), torch.zeros(1))

    with pytest.raises(ValueError, match="detection_loss"):
        two_stage_loss(raw, people())
    assert DetPoseNet().eval()(torch.rand(1, 3, 32, 32)).regions is None
