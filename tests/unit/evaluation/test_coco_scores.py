"""COCO scoring: our matching is equal to pycocotools, whose numbers are the ones reported."""

import copy

import numpy as np
import pytest

from coco_people import make_dataset, make_results, raw_coco_stats
from posecli.evaluation import (
    BoxScores,
    box_recall,
    check_ground_truth,
    check_results,
    coco_scores,
    keypoint_scores,
    pack,
    score,
)


def scores_of(dataset, poses):
    """Score by our own matching, after making sure that the reported numbers are the same."""
    ground_truth = check_ground_truth(dataset, name="gt.json")
    results = check_results(poses, ground_truth, name="pred.json")
    reported = keypoint_scores(ground_truth, results)
    own = coco_scores(score(pack(ground_truth, results)), num_results=len(results.poses))
    assert ten_numbers(own) == pytest.approx(ten_numbers(reported), rel=0, abs=1e-12)
    counts = ("num_images", "num_people", "num_results")
    assert [getattr(own, name) for name in counts] == [getattr(reported, name) for name in counts]
    return own


def ten_numbers(scores):
    sized = (scores.ap_medium, scores.ap_large)
    recalls = (scores.ar, scores.ar50, scores.ar75, scores.ar_medium, scores.ar_large)
    return [-1 if value is None else value for value in (scores.ap, scores.ap50, scores.ap75, *sized, *recalls)]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("noise", [0.02, 0.05, 0.1])
def test_scores_are_those_of_raw_cocoeval(seed, noise):
    dataset = make_dataset(seed=seed)
    poses = make_results(dataset, noise=noise, seed=seed)

    assert ten_numbers(scores_of(dataset, poses)) == raw_coco_stats(dataset, poses).tolist()


def test_perfect_results_score_one(dataset):
    scores = scores_of(dataset, make_results(dataset))

    assert ten_numbers(scores) == pytest.approx([1.0] * 10)
    assert (scores.num_images, scores.num_people, scores.num_results) == (12, 24, 24)


def test_scoring_prints_nothing(dataset, poses, capsys):
    scores_of(dataset, poses)

    assert capsys.readouterr() == ("", "")


def test_scoring_leaves_its_inputs_as_they_were(dataset, poses):
    ground_truth = check_ground_truth(dataset, name="gt.json")
    results = check_results(poses, ground_truth)
    before = copy.deepcopy((dataset, poses, ground_truth, results))

    keypoint_scores(ground_truth, results)
    box_recall(ground_truth, {1: (np.array([[0.0, 0, 9, 9]]), np.array([0.5]))})

    assert (dataset, poses, ground_truth, results) == before


def test_no_poses_score_zero(dataset):
    assert ten_numbers(scores_of(dataset, [])) == [0.0] * 10


def test_a_size_that_nobody_has_is_none_not_minus_one(dataset):
    for annotation in dataset["annotations"]:
        annotation["area"] = 50.0 * 50.0

    scores = scores_of(dataset, make_results(dataset))

    assert (scores.ap_medium, scores.ap_large, scores.ar_large) == (pytest.approx(1.0), None, None)


def test_an_annotation_with_id_zero_can_be_matched():
    dataset = make_dataset(num_images=1, people=2)
    dataset["annotations"][1]["id"] = 0
    poses = make_results(dataset)
    assert raw_coco_stats(dataset, poses)[0] == 0  # pycocotools takes a match with annotation 0 for none

    assert scores_of(dataset, poses).ap == pytest.approx(1.0)


def box_dataset():
    """Image 1: two people and a crowd; image 2: one person without keypoints; image 3: nobody."""
    boxes = [(1, [0, 0, 10, 10], 0), (1, [100, 0, 10, 20], 0), (1, [200, 200, 100, 100], 1), (2, [50, 50, 40, 40], 0)]
    annotations = [
        {"id": i, "image_id": image_id, "category_id": 1, "bbox": bbox, "area": 1.0, "iscrowd": crowd}
        for i, (image_id, bbox, crowd) in enumerate(boxes)
    ]
    return {"images": [{"id": i} for i in (1, 2, 3)], "annotations": annotations}


def test_box_recall_is_the_hand_count():
    ground_truth = check_ground_truth(box_dataset(), name="gt.json")
    boxes = {
        1: (
            np.array([[0.0, 0, 10, 6], [100, 0, 110, 9], [210, 210, 250, 250]]),  # IoU .6: found, .45: not; crowd
            np.array([0.9, 0.8, 0.95]),
        ),
        3: (np.array([[0.0, 0, 5, 5]]), np.array([0.1])),
    }

    scores = box_recall(ground_truth, boxes)

    assert scores.ar_100_iou50 == pytest.approx(1 / 3)  # one of the three who are no crowd
    assert scores.ap50 == pytest.approx(34 / 101)  # precision 1 up to recall 1/3: 0, .01, ..., .33


def test_box_recall_looks_at_a_hundred_boxes():
    ground_truth = check_ground_truth(box_dataset(), name="gt.json")
    elsewhere = np.tile([[300.0, 0, 310, 10]], (100, 1))
    found = np.array([[50.0, 50, 90, 90]])

    late = box_recall(ground_truth, {2: (np.concatenate((elsewhere, found)), np.linspace(1, 0, 101))})
    in_time = box_recall(ground_truth, {2: (np.concatenate((elsewhere[1:], found)), np.linspace(1, 0, 100))})

    assert (late.ar_100_iou50, in_time.ar_100_iou50) == (0, pytest.approx(1 / 3))


def test_box_ap_is_that_of_raw_cocoeval(dataset, ground_truth):
    random = np.random.default_rng(3)
    boxes = {
        image_id: (true + random.normal(0, 12, true.shape), random.uniform(0, 1, len(true)))
        for image_id, true in ground_truth.boxes().items()
    }
    records = [
        {"image_id": i, "category_id": 1, "bbox": [x, y, right - x, low - y], "score": float(box_score)}
        for i, (corners, box_scores) in boxes.items()
        for (x, y, right, low), box_score in zip(corners.tolist(), box_scores, strict=True)
    ]

    assert box_recall(ground_truth, boxes).ap50 == raw_coco_stats(dataset, records, "bbox")[1]


def test_no_boxes_find_nobody(ground_truth):
    empty = {1: (np.zeros((0, 4)), np.zeros(0))}

    assert (
        box_recall(ground_truth, {})
        == box_recall(ground_truth, empty)
        == BoxScores(ap=0.0, ap50=0.0, ap75=0.0, ar_100=0.0, ar_100_iou50=0.0)
    )


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ({99: (np.zeros((1, 4)), np.zeros(1))}, "no image 99"),
        ({1: (np.full((1, 4), np.nan), np.zeros(1))}, "finite"),
        ({1: (np.zeros((2, 4)), np.zeros(1))}, "shape"),
        ({1: (np.zeros((2, 5)), np.zeros(2))}, "shape"),
    ],
)
def test_boxes_of_a_wrong_kind_are_a_callers_bug(ground_truth, boxes, message):
    with pytest.raises(ValueError, match=message):
        box_recall(ground_truth, boxes)


def test_true_boxes_find_everybody_and_crowds_are_left_out():
    ground_truth = check_ground_truth(box_dataset(), name="gt.json")
    true = ground_truth.boxes()

    assert {image_id: len(boxes) for image_id, boxes in true.items()} == {1: 2, 2: 1, 3: 0}
    assert true[2].tolist() == [[50, 50, 90, 90]]
    assert sum(map(len, ground_truth.boxes(labelled=True).values())) == 0
    scored = {image_id: (boxes, np.ones(len(boxes))) for image_id, boxes in true.items()}
    assert box_recall(ground_truth, scored).ar_100_iou50 == 1
