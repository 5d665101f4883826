"""Networks over the pictures of a ground truth."""

import cv2
import numpy as np
import pytest
import torch

from posecli.engines.evaluate import evaluate_true_boxes, picture_frames
from posecli.errors import InputError
from posecli.evaluation import check_ground_truth
from posecli.evaluation.layouts import CROWDPOSE

POINTS = [[10.0 + 3 * k, 20.0 + 2 * k] for k in range(14)]


@pytest.fixture
def dataset(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((60, 80, 3), np.uint8))
    keypoints = [value for x, y in POINTS for value in (x, y, 2)]
    annotation = {
        "id": 1,
        "image_id": 5,
        "category_id": 1,
        "bbox": [5, 5, 60, 50],
        "iscrowd": 0,
        "keypoints": keypoints,
    }
    image = {"id": 5, "file_name": "a.png", "width": 80, "height": 60, "crowdIndex": 0.2}
    return {"images": [image], "annotations": [annotation]}


def knowing_refiner(images, boxes, *, batch):
    """Find the people where they are, in COCO's keypoints."""
    points = torch.zeros(1, 17, 2)
    for own, place in enumerate(CROWDPOSE.in_coco):
        if place is not None:
            points[0, place] = torch.tensor(POINTS[own])
    return [(points[: len(found)], torch.ones(len(found), 17)) for found in boxes]


def test_a_truth_of_other_keypoints_is_scored_on_those_it_shares_with_coco(tmp_path, dataset):
    truth = check_ground_truth(dataset, name="gt.json")

    report, results = evaluate_true_boxes(truth, tmp_path, knowing_refiner, batch=4)

    assert report.scores.ap == pytest.approx(1)
    assert [len(pose["keypoints"]) for pose in results] == [51]
    assert any("scored on the 12 keypoints" in note for note in truth.in_coco_order().notes)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"file_name": None}, "image 5 of the ground truth: file_name is null, wanted a text"),
        ({"height": 61, "width": None}, "80x60 pixels, but the ground truth says"),
        ({"file_name": "b.png"}, "b.png"),
    ],
)
def test_pictures_that_do_not_fit_are_bad_input(tmp_path, dataset, image, message):
    dataset["images"][0].update(image)
    truth = check_ground_truth(dataset, name="gt.json")

    with pytest.raises(InputError, match=message):
        list(picture_frames(truth, tmp_path))


def test_a_size_that_the_truth_states_by_half_is_shown_whole(tmp_path, dataset):
    dataset["images"][0].update(height=61)
    del dataset["images"][0]["width"]

    with pytest.raises(InputError, match=r"80x60 pixels, but the ground truth says 80x61"):
        list(picture_frames(check_ground_truth(dataset, name="gt.json"), tmp_path))
