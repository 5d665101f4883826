"""The worst cases: which they are, and that both sides show them."""

import cv2
import numpy as np
import pytest

from posecli.errors import InputError
from posecli.evaluation import check_ground_truth, check_results, pack, score
from posecli.evaluation.gallery import cut_out, worst_cases


def decoded(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def score_of(ground_truth, poses):
    return score(pack(ground_truth, check_results(poses, ground_truth)))


def test_whoever_is_left_out_is_missed_and_who_is_added_is_false(dataset, ground_truth, poses):
    large = max((a for a in dataset["annotations"] if a["num_keypoints"]), key=lambda a: a["area"])
    there = [value + 5000 if place % 3 < 2 else value for place, value in enumerate(poses[0]["keypoints"])]
    left = [pose for pose, a in zip(poses, (a for a in dataset["annotations"] if a["num_keypoints"]), strict=True)]
    kept = [
        pose
        for pose, annotation in zip(left, (a for a in dataset["annotations"] if a["num_keypoints"]), strict=True)
        if annotation is not large
    ]
    false = {"image_id": 4, "category_id": 1, "keypoints": there, "score": 0.99}

    cases = list(worst_cases(score_of(ground_truth, [*kept, false])))

    first = {case.kind: case for case in reversed(cases)}
    assert first["missed"].image == large["image_id"] - 1
    assert (first["false"].image, first["false"].caption[:10]) == (3, "score 0.99")
    assert first["misplaced"].caption.startswith("OKS 0.")
    assert max(sum(case.kind == kind for case in cases) for kind in first) <= 6


def test_both_sides_show_the_same_place_with_other_skeletons(scored, pictures):
    cut = next(cut for cut in cut_out(scored, pictures) if cut.case.kind == "misplaced")

    truth, found = decoded(cut.truth), decoded(cut.found)
    assert truth.shape == found.shape
    assert max(truth.shape[0] / 300, truth.shape[1] / 420) == pytest.approx(1, abs=0.02)
    for side in (truth, found):  # drawn on, but not all over
        assert 0.002 < (np.abs(side.astype(int) - 120).max(axis=-1) > 40).mean() < 0.7
    assert np.abs(truth.astype(int) - found).max() > 60


def test_perfect_poses_have_no_cases_but_the_least_good_ones(ground_truth, dataset):
    from coco_people import make_results

    kinds = [case.kind for case in worst_cases(score_of(ground_truth, make_results(dataset)))]

    assert set(kinds) <= {"misplaced"}


def test_a_person_outside_of_the_picture_is_cut_at_its_edge(dataset, pictures):
    for annotation in dataset["annotations"]:
        annotation["bbox"] = [5000.0, 5000, 10, 10]
    truth = check_ground_truth(dataset, name="gt.json")

    cuts = list(cut_out(score_of(truth, []), pictures))

    assert cuts
    assert all(min(decoded(cut.truth).shape[:2]) >= 1 for cut in cuts)


@pytest.mark.parametrize("file_name", ["../elsewhere.jpg", "/etc/hostname", "a\0b.jpg", None, 7])
def test_pictures_outside_of_the_folder_are_refused(dataset, poses, pictures, file_name):
    for image in dataset["images"]:
        image["file_name"] = file_name
    truth = check_ground_truth(dataset, name="gt.json")

    with pytest.raises(InputError, match=r"outside of|wanted a text"):
        list(cut_out(score_of(truth, poses), pictures))


def test_people_of_fewer_keypoints_are_drawn_with_those_that_coco_has(tmp_path):
    points = [value for k in range(14) for value in (100.0 + 10 * (k % 4), 100.0 + 12 * k, 2)]
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [90, 90, 60, 190], "keypoints": points}
    image = {"id": 1, "file_name": "a.png", "crowdIndex": 0.5}
    truth = check_ground_truth({"images": [image], "annotations": [annotation]}, name="gt.json")
    cv2.imwrite(str(tmp_path / "a.png"), np.full((400, 300, 3), 120, np.uint8))

    (cut,) = cut_out(score_of(truth, []), tmp_path)

    drawn, bare = (np.abs(decoded(side).astype(int) - 120).max(axis=-1) > 40 for side in (cut.truth, cut.found))
    assert drawn.mean() > 0.005
    assert not bare.any()
