"""Ground truths: a clear message where pycocotools would crash or mislead."""

import copy
import math

import pytest

from coco_people import make_results, put, put_keypoint, without, write
from posecli.errors import InputError
from posecli.evaluation import Results, check_ground_truth, check_results, keypoint_scores, load_ground_truth


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

    without_area, with_area = (check_ground_truth(data, name="gt.json") for data in (dataset, boxed))
    results = check_results(make_results(boxed, noise=0.05), with_area)
    assert keypoint_scores(without_area, results) == keypoint_scores(with_area, results)
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
