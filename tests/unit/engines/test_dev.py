"""Measuring a network in training: on chosen people, and poses to fix."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from posecli.config import RefineConfig
from posecli.engines.dev import dev_scores, fixing_ap, only_first, true_poses
from posecli.evaluation import check_ground_truth
from posecli.networks import get_spec
from posecli.stages.refine import Refiner


def annotation(number, image_id, left, **more):
    points = np.column_stack((np.linspace(left, left + 60, 17), np.linspace(10, 80, 17), np.full(17, 2)))
    record = {"id": number, "image_id": image_id, "category_id": 1, "bbox": [left - 5, 5, 70, 80], "area": 5600}
    return {**record, "iscrowd": 0, "num_keypoints": 17, "keypoints": points.ravel().tolist(), **more}


@pytest.fixture
def truth():
    people = [
        annotation(1, 1, 10, area=500),
        annotation(2, 1, 20),
        annotation(3, 2, 30),
        annotation(4, 2, 35),
        annotation(5, 3, 30),
    ]
    images = [{"id": number, "file_name": f"{number}.png", "width": 128, "height": 96} for number in (1, 2, 3)]
    categories = [{"id": 1, "name": "person"}]
    return check_ground_truth({"images": images, "annotations": people, "categories": categories}, name="people")


@pytest.fixture
def folder(tmp_path):
    for number in (1, 2, 3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((96, 128, 3), 90, np.uint8))
    return tmp_path


class Believer(nn.Module):
    """Answers with the pose that it is shown."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    @staticmethod
    def draw_prior(points, visible, *, crop_hw):
        return get_spec("posefix-r50").build.draw_prior(points, visible, crop_hw=crop_hw)

    def forward(self, images, prior):
        return (nn.functional.avg_pool2d(prior, 4) / 5,)


def test_only_first_people_are_those_that_training_uses(truth):
    kept = only_first(truth, 2)

    assert [person["id"] for person in kept.annotations] == [2, 3]  # the first is too small
    assert [image["id"] for image in kept.images] == [1, 2]


def test_fixing_is_measured_against_disturbed_truth(truth, folder):
    spec = get_spec("posefix-r50")
    refiner = Refiner([], RefineConfig(), torch.device("cpu"), posefix=(Believer(), spec))

    before, after = fixing_ap(truth, folder, refiner)

    assert 0.2 < before < 0.99
    assert after == pytest.approx(before, abs=0.1)
    assert fixing_ap(truth, folder, refiner) == (before, after)
    scores = dev_scores(Believer(), spec, truth, folder)
    assert scores == {"score": after, "AP": after, "AP_before": before}


def test_the_person_near_is_the_one_that_overlaps_most(truth):
    people = [truth.annotations[2], truth.annotations[3]]
    boxes = torch.tensor([[25.0, 5, 95, 85], [30, 5, 100, 85]])

    poses = true_poses(people, boxes)
    alone = true_poses(people[:1], boxes[:1])

    assert torch.equal(poses.near, poses.points.flip(0))
    assert poses.near_labelled.all()
    assert not alone.near_labelled.any()
