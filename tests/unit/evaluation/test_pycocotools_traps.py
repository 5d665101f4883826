"""Every trap of pycocotools that users fall into: what it does, and what posecli does instead."""

import copy
import math

import pytest

from coco_people import make_dataset, make_results, raw_coco_stats
from posecli.errors import InputError
from posecli.evaluation import check_ground_truth, check_results, keypoint_scores


@pytest.fixture
def dataset():
    return make_dataset(num_images=2, people=2)


@pytest.fixture
def poses(dataset):
    return make_results(dataset)


def scores_of(dataset, poses):
    ground_truth = check_ground_truth(dataset, name="gt.json")
    return keypoint_scores(ground_truth, check_results(poses, ground_truth, name="pred.json"))


def test_an_empty_list_crashes_there_and_scores_zero_here(dataset):
    with pytest.raises(IndexError):
        raw_coco_stats(dataset, [])

    assert (scores_of(dataset, []).ap, scores_of(dataset, []).ar) == (0, 0)


@pytest.mark.parametrize("image_id", ["1", 99])
def test_a_foreign_image_id_is_an_assertion_there_and_named_here(dataset, poses, image_id):
    poses[1]["image_id"] = image_id

    with pytest.raises(AssertionError):
        raw_coco_stats(dataset, poses)
    with pytest.raises(InputError, match=r"pred\.json: \[1\]: image_id"):
        scores_of(dataset, poses)


@pytest.mark.parametrize("key", ["score", "category_id"])
def test_a_missing_key_is_a_key_error_there_and_named_here(dataset, poses, key):
    for pose in poses[1:]:
        del pose[key]

    with pytest.raises(KeyError):
        raw_coco_stats(dataset, poses)
    with pytest.raises(InputError, match=rf"pred\.json: \[1\]: no {key}"):
        scores_of(dataset, poses)


def test_sixteen_keypoints_are_a_broadcast_error_there_and_counted_here(dataset, poses):
    del poses[1]["keypoints"][48:]

    with pytest.raises(ValueError, match="shape"):
        raw_coco_stats(dataset, poses)
    with pytest.raises(InputError, match=r"\[1\]: keypoints has 48 numbers, wanted 51"):
        scores_of(dataset, poses)


def test_a_dataset_as_results_is_an_assertion_there_and_explained_here(dataset):
    with pytest.raises(AssertionError):
        raw_coco_stats(dataset, dataset)
    with pytest.raises(InputError, match="a COCO dataset, wanted a results list"):
        scores_of(dataset, dataset)


@pytest.mark.parametrize("key", ["num_keypoints", "area"])
def test_an_incomplete_truth_is_a_key_error_there_and_completed_here(dataset, poses, key):
    incomplete = copy.deepcopy(dataset)
    for annotation in incomplete["annotations"]:
        del annotation[key]

    with pytest.raises(KeyError):
        raw_coco_stats(incomplete, poses)
    assert scores_of(incomplete, poses).ap == pytest.approx(1)


def test_a_truth_without_people_scores_minus_one_there_and_is_refused_here(dataset, poses):
    dataset["annotations"] = []

    assert raw_coco_stats(dataset, poses)[0] == -1
    with pytest.raises(InputError, match=r"gt\.json: nobody has keypoints"):
        scores_of(dataset, poses)


def test_one_nan_matches_anybody_there_and_is_refused_here():
    dataset = make_dataset(num_images=1, people=2)
    (pose,) = make_results(dataset)
    far = [value + 300 if index % 3 < 2 else value for index, value in enumerate(pose["keypoints"])]
    spoiled = [math.nan, *far[1:]]
    dataset["annotations"][1]["keypoints"][2] = 2  # the keypoint of the NaN is labelled

    assert raw_coco_stats(dataset, [pose | {"keypoints": far}])[0] == 0
    assert raw_coco_stats(dataset, [pose | {"keypoints": spoiled}])[0] == pytest.approx(1)
    assert scores_of(dataset, [pose | {"keypoints": far}]).ap == 0
    with pytest.raises(InputError, match=r"\[0\]: keypoints\[0\] is NaN"):
        scores_of(dataset, [pose | {"keypoints": spoiled}])


def test_scores_above_one_pass_there_and_are_said_here(dataset, poses):
    ground_truth = check_ground_truth(dataset, name="gt.json")
    high = [pose | {"score": 40.0 + index} for index, pose in enumerate(poses)]

    results = check_results(high, ground_truth, name="pred.json")

    assert keypoint_scores(ground_truth, results).ap == pytest.approx(raw_coco_stats(dataset, high)[0], abs=1e-12)
    assert results.notes == ("pred.json: 2 poses score outside [0, 1]; only their order matters here",)


def test_a_bbox_changes_the_sizes_there_and_nothing_here(dataset, poses):
    for annotation in dataset["annotations"]:
        annotation["area"] = 50.0 * 50.0
    false = poses[0] | {"score": 1.0, "keypoints": [value * 0.01 for value in poses[0]["keypoints"]]}
    without_bbox = [*poses, false | {"keypoints": [600.0, 5, 1, 650, 55, 1] * 8 + [600.0, 5, 1]}]
    with_bbox = [pose | {"bbox": [0, 0, 500, 500]} for pose in without_bbox]

    assert raw_coco_stats(dataset, with_bbox)[3] > raw_coco_stats(dataset, without_bbox)[3] + 0.1  # APm
    assert scores_of(dataset, with_bbox) == scores_of(dataset, without_bbox)
    assert scores_of(dataset, with_bbox).ap_medium == pytest.approx(raw_coco_stats(dataset, without_bbox)[3], abs=1e-12)


def test_the_twenty_first_pose_is_ignored_in_both_and_said_here(dataset, poses):
    ground_truth = check_ground_truth(dataset, name="gt.json")
    elsewhere = [poses[0] | {"score": 1.0, "keypoints": [900.0 + index] * 51} for index in range(20)]

    results = check_results([*elsewhere, poses[0] | {"score": 0.1}], ground_truth, name="pred.json")

    assert keypoint_scores(ground_truth, results).ar == 0
    assert raw_coco_stats(dataset, list(results.poses))[5] == 0
    assert results.notes == ("pred.json: 1 images have more than 20 poses; COCO looks at the best 20",)
