"""Results lists: a clear message where pycocotools would crash or mislead."""

import math

import pytest

from coco_people import put, put_keypoint, without, write
from posecli.errors import InputError
from posecli.evaluation import check_ground_truth, check_results, keypoint_scores, load_results


def test_bbox_in_results_changes_nothing_and_is_noted(dataset, poses):
    with_bbox = [pose | {"bbox": [0, 0, 500, 500]} for pose in poses]
    ground_truth = check_ground_truth(dataset, name="gt.json")

    results = check_results(with_bbox, ground_truth, name="pred.json")

    assert keypoint_scores(ground_truth, results) == keypoint_scores(ground_truth, check_results(poses, ground_truth))
    assert results.notes == (
        "pred.json: 24 poses have a bbox; it is left out, because with it APm and APl are not COCO's",
    )


def test_more_than_twenty_poses_and_odd_scores_are_noted(poses, ground_truth):
    crowd = [poses[0] | {"score": 3.0}] * 21

    notes = check_results(crowd, ground_truth, name="pred.json").notes

    assert notes == (
        "pred.json: 21 poses score outside [0, 1]; only their order matters here",
        "pred.json: 1 images have more than 20 poses; COCO looks at the best 20",
    )


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (put_keypoint(4, math.nan), r"keypoints\[4\] is NaN, wanted a finite number"),
        (put_keypoint(4, math.inf), r"keypoints\[4\] is Infinity, wanted a finite number"),
        (put_keypoint(4, -(10**400)), r"keypoints\[4\] is -1000.*\.\.\., wanted a finite number"),
        (put_keypoint(4, "7"), r'keypoints\[4\] is "7", wanted a finite number'),
        (put_keypoint(4, None), r"keypoints\[4\] is null, wanted a finite number"),
        (put("keypoints", [1.0] * 48), "keypoints has 48 numbers, wanted 51: x, y and visibility or score of 17"),
        (put("keypoints", [[1.0, 2.0, 0.5]] * 17), "keypoints has 17 numbers, wanted 51"),
        (put("keypoints", "1,2,3"), 'keypoints is "1,2,3", wanted a list of 51 numbers'),
        (without("keypoints"), "no keypoints, wanted 51 numbers"),
        (put("image_id", "2"), 'image_id is "2", wanted an integer'),
        (put("image_id", 2.0), r"image_id is 2\.0, wanted an integer"),
        (put("image_id", True), "image_id is true, wanted an integer"),
        (put("image_id", 99), r"image_id 99 is not in gt\.json \(ids 1 to 12\); give the ground truth"),
        (without("image_id"), "no image_id, wanted an integer"),
        (put("category_id", 0), r"category_id is 0, person is 1 in gt\.json"),
        (without("category_id"), "no category_id, wanted an integer"),
        (put("score", math.nan), "score is NaN, wanted a finite number"),
        (put("score", "0.5"), 'score is "0.5", wanted a finite number'),
        (without("score"), "no score, wanted a number"),
    ],
)
def test_a_bad_pose_is_refused_by_its_place_and_value(tmp_path, poses, ground_truth, spoil, message):
    spoil(poses[3])
    path = write(tmp_path / "pred.json", poses)

    with pytest.raises(InputError, match=r"pred\.json: \[3\]: " + message):
        load_results(path, ground_truth)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"annotations": []}, "a COCO dataset, wanted a results list; posecli infer writes it"),
        ({"results": []}, "a JSON object, wanted a list of poses"),
        (None, "null, wanted a list of poses"),
        ([1], r"\[0\]: 1, wanted a JSON object"),
    ],
)
def test_results_that_are_no_list_of_poses_are_refused(tmp_path, ground_truth, value, message):
    with pytest.raises(InputError, match=message):
        load_results(write(tmp_path / "pred.json", value), ground_truth)
