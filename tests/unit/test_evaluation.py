"""COCO scoring: equal to pycocotools where that is right, and a clear message where it would crash or mislead."""

import contextlib
import copy
import io
import json
import math

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from posecli.errors import InputError
from posecli.evaluation import (
    BoxScores,
    EvalReport,
    Results,
    box_recall,
    check_ground_truth,
    check_results,
    keypoint_scores,
    load_ground_truth,
    load_results,
)
from posecli.skeleton import COCO_SKELETON, KEYPOINTS


def make_dataset(num_images=12, people=3, seed=0):
    """Images of 640 x 480 with people of 24 to 200 pixels, some hidden points, one person without keypoints each."""
    random = np.random.default_rng(seed)
    annotations = []
    for image_id in range(1, num_images + 1):
        for person in range(people):
            side = random.uniform(24, 200)
            corner = random.uniform(0, 240, 2) + person * 20
            points = corner + random.uniform(0, side, (17, 2))
            visibility = random.choice([0, 1, 2], 17) if person else np.zeros(17, dtype=int)
            triplets = np.concatenate((points * (visibility > 0)[:, None], visibility[:, None]), axis=1)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": 1,
                    "bbox": [*corner.tolist(), side, side],
                    "area": side * side * 0.5,
                    "iscrowd": 0,
                    "num_keypoints": int((visibility > 0).sum()),
                    "keypoints": triplets.ravel().tolist(),
                }
            )
    category = {"id": 1, "name": "person", "keypoints": list(KEYPOINTS), "skeleton": [list(e) for e in COCO_SKELETON]}
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 640, "height": 480} for i in range(1, num_images + 1)]
    return {"images": images, "annotations": annotations, "categories": [category]}


def make_results(dataset, noise=0.0, seed=1):
    """The labelled people moved by `noise` times their size, each with a random score."""
    random = np.random.default_rng(seed)
    poses = []
    for annotation in dataset["annotations"]:
        if annotation["num_keypoints"]:
            triplets = np.array(annotation["keypoints"]).reshape(17, 3)
            triplets[:, :2] += random.normal(0, noise * math.sqrt(annotation["area"]), (17, 2)) if noise else 0
            poses.append(
                {
                    "image_id": annotation["image_id"],
                    "category_id": 1,
                    "keypoints": triplets.ravel().tolist(),
                    "score": float(random.uniform(0.1, 1)),
                }
            )
    return poses


def raw_coco_stats(dataset, poses, kind="keypoints"):
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(dataset)
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(copy.deepcopy(poses)), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats


def score(dataset, poses):
    ground_truth = check_ground_truth(dataset, name="gt.json")
    return keypoint_scores(ground_truth, check_results(poses, ground_truth, name="pred.json"))


def ten_numbers(scores):
    sized = (scores.ap_medium, scores.ap_large)
    recalls = (scores.ar, scores.ar50, scores.ar75, scores.ar_medium, scores.ar_large)
    return [-1 if value is None else value for value in (scores.ap, scores.ap50, scores.ap75, *sized, *recalls)]


def write(path, value):
    path.write_text(json.dumps(value))
    return path


@pytest.fixture
def dataset():
    return make_dataset()


@pytest.fixture
def poses(dataset):
    return make_results(dataset, noise=0.05)


@pytest.fixture
def ground_truth(dataset):
    return check_ground_truth(dataset, name="gt.json")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("noise", [0.02, 0.05, 0.1])
def test_scores_are_those_of_raw_cocoeval(seed, noise):
    dataset = make_dataset(seed=seed)
    poses = make_results(dataset, noise=noise, seed=seed)

    assert ten_numbers(score(dataset, poses)) == raw_coco_stats(dataset, poses).tolist()


def test_perfect_results_score_one(dataset):
    scores = score(dataset, make_results(dataset))

    assert ten_numbers(scores) == pytest.approx([1.0] * 10)
    assert (scores.num_images, scores.num_people, scores.num_results) == (12, 24, 24)


def test_scoring_prints_nothing(dataset, poses, capsys):
    score(dataset, poses)

    assert capsys.readouterr() == ("", "")


def test_scoring_leaves_its_inputs_as_they_were(dataset, poses):
    ground_truth = check_ground_truth(dataset, name="gt.json")
    results = check_results(poses, ground_truth)
    before = copy.deepcopy((dataset, poses, ground_truth, results))

    keypoint_scores(ground_truth, results)
    box_recall(ground_truth, {1: (np.array([[0.0, 0, 9, 9]]), np.array([0.5]))})

    assert (dataset, poses, ground_truth, results) == before


def test_no_poses_score_zero(dataset):
    assert ten_numbers(score(dataset, [])) == [0.0] * 10


def test_a_size_that_nobody_has_is_none_not_minus_one(dataset):
    for annotation in dataset["annotations"]:
        annotation["area"] = 50.0 * 50.0

    scores = score(dataset, make_results(dataset))

    assert (scores.ap_medium, scores.ap_large, scores.ar_large) == (pytest.approx(1.0), None, None)


def test_an_annotation_with_id_zero_can_be_matched():
    dataset = make_dataset(num_images=1, people=2)
    dataset["annotations"][1]["id"] = 0
    poses = make_results(dataset)
    assert raw_coco_stats(dataset, poses)[0] == 0  # pycocotools takes a match with annotation 0 for none

    assert score(dataset, poses).ap == pytest.approx(1.0)


def test_bbox_in_results_changes_nothing_and_is_noted(dataset, poses):
    with_bbox = [pose | {"bbox": [0, 0, 500, 500]} for pose in poses]
    ground_truth = check_ground_truth(dataset, name="gt.json")

    results = check_results(with_bbox, ground_truth, name="pred.json")

    assert keypoint_scores(ground_truth, results) == score(dataset, poses)
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


def without(key):
    return lambda record: record.pop(key)


def put(key, value):
    return lambda record: record.update({key: value})


def put_keypoint(index, value):
    return lambda record: record["keypoints"].__setitem__(index, value)


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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"[\n1,\n", "not JSON: Expecting value at line 3"),
        (b'{"a": 1}\n{"a": 2}\n', "Extra data at line 2, column 1; one JSON value is wanted, not JSON Lines"),
        (b"\xff\xd8\xff", "not text in UTF-8"),
        (b"[" * 100_000, "JSON that cannot be read"),
        (b"[" + b"1" * 5000 + b"]", "JSON that cannot be read"),
    ],
    ids=["missing", "cut", "jsonl", "jpeg", "deep", "digits"],
)
def test_an_unreadable_file_is_refused(tmp_path, content, message):
    path = tmp_path / "gt.json"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(InputError, match=message) as caught:
        load_ground_truth(path)

    assert caught.value.exit_code == 4


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load_ground_truth(tmp_path)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without("id"), "no id, wanted an integer"),
        (put("id", "5"), 'id is "5", wanted an integer'),
        (put("id", 1), "id 1 is there twice"),
        (put("image_id", 99), "image_id 99 is not among the images"),
        (without("bbox"), r"\(id 4\): no bbox, wanted 4 numbers"),
        (put("bbox", [1, 2, -3, 4]), "has a negative side"),
        (put("bbox", [1, 2, 3]), "bbox has 3 numbers, wanted 4"),
        (put("area", math.nan), "area is NaN"),
        (put("area", -1), "area is -1, wanted square pixels"),
        (put("iscrowd", "0"), 'iscrowd is "0", wanted 0 or 1'),
        (put("num_keypoints", 3.5), r"num_keypoints is 3\.5, wanted an integer"),
        (put("keypoints", [1] * 48), "keypoints has 48 numbers, wanted 51"),
        (put_keypoint(0, math.nan), r"keypoints\[0\] is NaN"),
    ],
)
def test_a_bad_annotation_is_refused_by_its_place_and_value(tmp_path, dataset, spoil, message):
    spoil(dataset["annotations"][3])

    with pytest.raises(InputError, match=r"gt\.json: annotations\[3\].*" + message):
        load_ground_truth(write(tmp_path / "gt.json", dataset))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without("images"), "no list of images"),
        (without("annotations"), "no list of annotations"),
        (put("images", []), "no images"),
        (put("images", [{"id": 1}, {"id": 1}]), r"images\[1\]: id 1 is there twice"),
        (put("images", [{"id": "a"}]), r'images\[0\]: id is "a"'),
        (put("categories", [{"id": 1, "name": "cat"}]), r"no category is named person \(found cat\)"),
        (put("categories", [{"id": 1, "name": "person", "keypoints": ["a"] * 14}]), "14 keypoints, wanted COCO's 17"),
        (put("categories", {"id": 1}), "categories is a JSON object, wanted a list"),
    ],
)
def test_a_bad_dataset_is_refused(dataset, spoil, message):
    spoil(dataset)

    with pytest.raises(InputError, match=message):
        check_ground_truth(dataset, name="gt.json")


def test_results_given_as_ground_truth_are_refused(poses):
    with pytest.raises(InputError, match="a list, wanted a COCO dataset with images and annotations"):
        check_ground_truth(poses, name="pred.json")


def test_missing_area_is_the_box_and_noted(dataset):
    boxed = copy.deepcopy(dataset)
    for annotation in boxed["annotations"]:
        annotation["area"] = annotation["bbox"][2] * annotation["bbox"][3]
    for annotation in dataset["annotations"]:
        del annotation["area"]

    assert score(dataset, make_results(boxed, noise=0.05)) == score(boxed, make_results(boxed, noise=0.05))
    assert "36 annotations have no area" in check_ground_truth(dataset, name="gt.json").notes[0]


def test_what_else_is_missing_is_completed_and_noted(dataset):
    complete = check_ground_truth(dataset, name="gt.json")
    for annotation in dataset["annotations"]:
        del annotation["num_keypoints"], annotation["iscrowd"]
        if not any(annotation["keypoints"]):
            del annotation["keypoints"]
    del dataset["categories"]

    completed = check_ground_truth(dataset, name="gt.json")

    assert completed.annotations == complete.annotations
    assert complete.notes == ()
    assert [note.split("; ")[0] for note in completed.notes] == [
        "gt.json: has no categories",
        "gt.json: 36 annotations have no iscrowd",
        "gt.json: 12 annotations have no keypoints",
        "gt.json: 24 annotations have no num_keypoints",
    ]


def test_odd_counts_visibilities_and_categories_are_noted(dataset):
    dataset["annotations"][1]["num_keypoints"] += 1
    dataset["annotations"][2]["keypoints"][2] = 0.83
    dataset["annotations"][2]["num_keypoints"] = sum(v > 0 for v in dataset["annotations"][2]["keypoints"][2::3])
    dataset["annotations"].append({"category_id": 18, "bbox": None})
    dataset["categories"][0]["keypoints"][0] = "head"

    ground_truth = check_ground_truth(dataset, name="gt.json")

    assert len(ground_truth.annotations) == 36
    assert [note.removeprefix("gt.json: ").split("; ")[0] for note in ground_truth.notes] == [
        "names its keypoints differently from COCO",
        "1 annotations of other categories than person are left out",
        "1 annotations have another num_keypoints than labelled keypoints",
        "1 annotations have a visibility other than 0, 1, 2",
    ]


def test_nobody_with_keypoints_is_an_error_not_minus_one(dataset):
    for annotation in dataset["annotations"]:
        annotation["num_keypoints"] = 0
    ground_truth = check_ground_truth(dataset, name="gt.json")

    with pytest.raises(InputError, match=r"gt\.json: nobody has keypoints"):
        keypoint_scores(ground_truth, Results(()))


def test_select_keeps_some_images_with_their_people(ground_truth):
    part = ground_truth.select([2, 5])

    assert [image["id"] for image in part.images] == [2, 5]
    assert (part.num_annotated, part.num_people) == (6, 4)
    with pytest.raises(ValueError, match="no image 99"):
        ground_truth.select([99])


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

    assert box_recall(ground_truth, {}) == box_recall(ground_truth, empty) == BoxScores(ap50=0.0, ar_100_iou50=0.0)


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


def test_report_divides_refiner_runs_by_everyone_annotated(dataset, poses):
    ground_truth = check_ground_truth(dataset, name="gt.json")
    scores = score(dataset, poses)

    report = EvalReport(scores=scores, num_annotated=ground_truth.num_annotated, refiner_runs=45, notes=("a note",))

    assert report.refiner_runs_per_person == 45 / 36
    values = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert values["AP"] == round(scores.ap, 4)
    assert values["refiner_runs_per_person"] == 1.25
    assert values["notes"] == ["a note"]
    assert EvalReport(scores=scores, num_annotated=36).refiner_runs_per_person is None
