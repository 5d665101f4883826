"""Breakdowns, on people few enough to count by hand."""

import json

import numpy as np
import pytest

from coco_people import make_dataset, make_results
from posecli.evaluation import breakdown, check_ground_truth, check_results, pack, score
from posecli.evaluation.crowding import max_iou
from posecli.evaluation.error_types import KINDS, keypoint_kinds
from posecli.evaluation.false_people import false_people
from posecli.evaluation.nearest import nearest
from posecli.evaluation.packing import pack_people
from posecli.skeleton import KEYPOINTS, MIRROR, OKS_SIGMAS

SIDE = 100.0


def standing(x, y):
    """Keypoints of a person, 20 px apart at least, left of the body and right of it."""
    return np.array([(x + 30 * (k % 2 or -(k > 0)), y + 20 * k) for k in range(17)], dtype=float)


def person(points, *, image_id=1, visibility=None, side=SIDE):
    visibility = np.full(17, 2) if visibility is None else np.array(visibility)
    triplets = np.concatenate((points * (visibility > 0)[:, None], visibility[:, None]), axis=1)
    left, top = points.min(axis=0)
    width, height = np.ptp(points, axis=0)
    return {
        "image_id": image_id, "category_id": 1, "iscrowd": 0, "area": side * side,
        "bbox": [left, top, width, height], "keypoints": triplets.ravel().tolist(),
    }  # fmt: skip


def pose(points, *, image_id=1, score=0.9):
    triplets = np.concatenate((points, np.ones((17, 1))), axis=1)
    return {"image_id": image_id, "category_id": 1, "keypoints": triplets.ravel().tolist(), "score": score}


def scored(people, poses, *, num_images=2, images=None):
    for number, annotation in enumerate(people, start=1):
        annotation.update(id=number, num_keypoints=sum(v > 0 for v in annotation["keypoints"][2::3]))
    images = images or [{"id": i} for i in range(1, num_images + 1)]
    truth = check_ground_truth({"images": images, "annotations": people}, name="gt.json", gt_format="coco")
    return score(pack(truth, check_results(poses, truth)))


def kinds_of(people, poses):
    found = scored(people, poses)
    near = nearest(found)
    return [["good" if kind < 0 else KINDS[kind] for kind in row] for row in keypoint_kinds(found, near)]


def shift(keypoint, similarity):
    """How far, in pixels, a keypoint of that similarity is from the truth."""
    return np.sqrt(-np.log(similarity) * 2 * (2 * OKS_SIGMAS[keypoint] * SIDE) ** 2)


@pytest.mark.parametrize(("similarity", "kind"), [(0.86, "good"), (0.84, "jitter"), (0.51, "jitter"), (0.49, "miss")])
def test_a_keypoint_is_good_jittered_or_missed_by_its_distance(similarity, kind):
    points = standing(100, 100)
    moved = points.copy()
    moved[9, 0] += shift(9, similarity)  # a wrist, far from the other

    (kinds,) = kinds_of([person(points)], [pose(moved)])

    assert kinds[9] == kind
    assert set(kinds[:9] + kinds[10:]) == {"good"}


def test_the_other_side_is_an_inversion_and_another_person_a_swap():
    here, there = standing(100, 100), standing(400, 100)
    moved = here.copy()
    moved[[9, 10]] = here[[10, 9]]
    moved[15], moved[16] = there[15], there[15]  # the same ankle of somebody else, and the mirrored one

    kinds, other = kinds_of([person(here), person(there)], [pose(moved), pose(there, score=0.8)])

    assert {name: kinds[KEYPOINTS.index(name)] for name in ("left_wrist", "right_wrist")} == {
        "left_wrist": "inversion", "right_wrist": "inversion",
    }  # fmt: skip
    assert kinds[15:] == ["swap", "swap"]
    assert set(kinds[:9]) == set(other) == {"good"}


def test_unlabelled_keypoints_are_nobodys_to_invert_or_swap_with():
    here = standing(100, 100)
    visibility = np.full(17, 2)
    visibility[10] = 0
    moved = here.copy()
    moved[9] = here[10]

    (kinds,) = kinds_of([person(here, visibility=visibility)], [pose(moved)])

    assert kinds[9] == "miss"


def test_the_nose_has_no_other_side():
    points = standing(100, 100)
    assert MIRROR[0] == 0
    moved = points.copy()
    moved[0, 0] += shift(0, 0.3)

    assert kinds_of([person(points)], [pose(moved)])[0][0] == "miss"


def test_error_shares_add_up_and_mending_all_errors_of_a_kind_raises_ap():
    dataset = make_dataset(num_images=6)
    truth = check_ground_truth(dataset, name="gt.json")
    found = score(pack(truth, check_results(make_results(dataset, noise=0.06), truth)))

    errors = breakdown(found).errors

    assert errors.good + sum(kind.share for kind in errors.kinds) == pytest.approx(1)
    assert errors.num_keypoints == sum(a["num_keypoints"] for a in truth.annotations)
    assert all(kind.ap_without >= found.curves.ap for kind in errors.kinds)
    assert max(kind.ap_without for kind in errors.kinds) > found.curves.ap + 0.05
    assert all(sum(shares.values()) == pytest.approx(1) for shares in errors.by_keypoint.values())


def test_groups_share_out_the_people_and_take_only_their_own_false_poses():
    small, large = standing(100, 100), standing(400, 100)
    people = [person(small, side=20.0), person(large, side=150.0)]
    poor = small + 15  # OKS too low to find the small person, too high to be of nobody
    poses = [pose(poor, score=0.9), pose(large, score=0.5), pose(standing(2000, 100), score=0.95)]

    groups = {group.name: group for group in breakdown(scored(people, poses)).by_size}

    assert {name: group.num_people for name, group in groups.items()} == {"under 32 px": 1, "96 to 192 px": 1}
    assert groups["under 32 px"].ap == 0
    large_group = groups["96 to 192 px"]
    assert (large_group.ap, large_group.ap50, large_group.oks) == pytest.approx((1, 1, 1))


def test_groups_by_labelled_keypoints_are_those_of_the_people():
    visibility = [2] * 5 + [0] * 12
    points = standing(100, 100)
    people = [person(points, visibility=visibility), person(standing(400, 100))]

    groups = breakdown(scored(people, [pose(points)])).by_num_keypoints

    assert [(group.name, group.num_people, round(group.ar, 9)) for group in groups] == [("5", 1, 1.0), ("17", 1, 0.0)]


def test_a_keypoint_alone_and_hidden_ones_alone():
    points = standing(100, 100)
    visibility = [1] * 4 + [2] * 13
    moved = points.copy()
    moved[:4] += 200

    found = breakdown(scored([person(points, visibility=visibility)], [pose(moved)]))

    by_name = {group.name: group for group in found.by_keypoint}
    alone = (by_name["nose"].ap, by_name["left_ankle"].ap, by_name["left_ankle"].oks)
    assert alone == pytest.approx((0, 1, 1))
    assert (found.hidden.ap, found.visible.ap) == pytest.approx((0, 1))
    assert breakdown(scored([person(points)], [pose(points)])).hidden is None


def test_crowding_is_the_largest_overlap_with_somebody_else():
    boxes = [[0, 0, 10, 10], [0, 5, 10, 10], [100, 100, 10, 10], [0, 0, 10, 10]]
    annotations = [
        {"id": i, "image_id": 1 + i // 4, "category_id": 1, "bbox": box, "area": 100.0, "iscrowd": 0}
        for i, box in enumerate(boxes, start=1)
    ]
    annotations[2]["max_iou"] = 0.6  # a file that says so, as OCHuman's
    truth = check_ground_truth({"images": [{"id": 1}, {"id": 2}], "annotations": annotations}, name="gt.json")

    assert max_iou(truth, pack_people(truth, [1, 2])).tolist() == [pytest.approx(1 / 3), pytest.approx(1 / 3), 0.6, 0]


def test_crowdpose_images_are_split_by_their_index():
    points = standing(100, 100)
    images = [{"id": i, "crowdIndex": index} for i, index in ((1, 0.05), (2, 0.1), (3, 0.8))]
    people = [person(points, image_id=i) for i in (1, 2, 3)]

    groups = breakdown(scored(people, [pose(points, image_id=2)], images=images)).by_crowd_index

    assert [(group.name, round(group.ap, 9)) for group in groups] == [("easy", 0), ("medium", 1), ("hard", 0)]


def test_pck_counts_keypoints_near_enough_and_those_of_the_unfound_as_far():
    points = standing(100, 100)
    longer_side = 320
    moved = points.copy()
    moved[0, 0] += longer_side * 0.06
    moved[1, 0] += longer_side * 0.15
    people = [person(points), person(points, image_id=2)]

    pck = breakdown(scored(people, [pose(moved)])).pck

    assert (pck.normaliser, pck.num_keypoints) == ("longer side of the true box", 34)
    assert pck.at == {"0.05": 15 / 34, "0.1": 16 / 34, "0.2": 17 / 34}
    assert pck.by_keypoint["nose"] == 0.5


def test_calibration_compares_scores_with_what_was_right():
    points = standing(100, 100)
    poses = [pose(points, score=0.72), pose(standing(900, 100), score=0.78), pose(standing(900, 900), score=0.1)]

    found = breakdown(scored([person(points)], poses)).calibration

    assert [(item.low, item.num_poses, item.share_right) for item in found.bins] == [(0.1, 1, 0), (0.7, 2, 0.5)]
    assert found.error == pytest.approx((0.1 + 2 * 0.25) / 3)


def test_false_people_are_counted_on_images_where_nobody_is():
    points = standing(100, 100)
    crowd = person(points, image_id=2) | {"iscrowd": 1}
    poses = [pose(points, image_id=i, score=value) for i, value in ((2, 0.9), (3, 0.4), (3, 0.05), (4, 0.2))]

    false = false_people(scored([person(points), crowd], poses, num_images=5).packed)

    assert false.num_images == 3
    assert false.per_image == {"0": 1.0, "0.1": 2 / 3, "0.3": 1 / 3, "0.5": 0.0}


def test_nobody_found_at_all_breaks_nothing_down():
    found = breakdown(scored([person(standing(100, 100))], []))

    assert found.by_size[0].oks is None
    assert found.calibration.error is None
    assert (found.errors.num_keypoints, found.pck.at["0.2"]) == (0, 0)
    json.dumps(found.as_dict(), allow_nan=False)
