"""Pseudo labels go to the people whom they are of, and files that are none are refused by name."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch

from posecli.config import DatasetConfig
from posecli.errors import InputError
from posecli.training.data import load_crops, load_pictures
from posecli.training.labels import match, read_boxes, read_labels

HW = (64, 48)


def found(number, image_id, bbox, *, score=0.9, sure=17, at=(30.0, 40.0)):
    """Somebody as `posecli infer` writes them; the first `sure` keypoints have a score of .8, the others of .1."""
    keypoints = [value for k in range(17) for value in (at[0] + k, at[1] + k, 2 if k < sure else 0)]
    scores = [0.8 if k < sure else 0.1 for k in range(17)]
    return {
        "id": number, "image_id": image_id, "category_id": 1, "bbox": bbox, "area": bbox[2] * bbox[3], "iscrowd": 0,
        "num_keypoints": sure, "keypoints": keypoints, "score": score, "attributes": {"keypoint_scores": scores},
    }  # fmt: skip


def boxed(number, image_id, bbox, **more):
    entry = {"id": number, "image_id": image_id, "category_id": 1, "bbox": bbox, "area": 4000.0, "iscrowd": 0}
    return {**entry, "num_keypoints": 0, "keypoints": [0] * 51, **more}


def write(path, images, annotations):
    path.write_text(json.dumps({"images": images, "annotations": annotations}))


@pytest.fixture
def root(tmp_path, examples):
    """Two boxed people without keypoints on a picture, and what a network saw there; the example video beside it."""

    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos" / "a.png"), np.full((120, 200, 3), 90, np.uint8))
    image = {"id": 1, "file_name": "a.png", "width": 200, "height": 120}
    write(tmp_path / "people.json", [image], [boxed(1, 1, [10, 10, 60, 100]), boxed(2, 1, [120, 10, 60, 100])])
    seen = [
        found(1, 7, [12, 12, 58, 96], score=0.5, at=(20.0, 30.0)),
        found(2, 7, [9, 9, 62, 104], score=0.9),  # the same person, surer
        found(3, 7, [121, 11, 60, 100], score=0.8, sure=3),  # sure of three keypoints only
        found(4, 7, [80, 0, 30, 40], score=0.8),  # nobody whom the annotations know
    ]
    write(tmp_path / "seen.coco.json", [{**image, "id": 7}], seen)
    (tmp_path / "walkers.mp4").symlink_to(examples / "walkers.mp4")
    return tmp_path


def test_people_without_keypoints_get_those_of_the_found_person_whose_box_fits(root):
    config = DatasetConfig(images="photos", annotations="people.json", pseudo="seen.coco.json", pseudo_weight=0.5)

    labels = read_labels(root, config)
    crops = load_crops(root, (config,), crop_hw=HW)

    assert set(labels.guesses) == {1, 2}
    assert labels.guesses[1][0].tolist() == pytest.approx([30.0, 40.0, 0.8])
    assert len(crops.boxes) == 1  # three keypoints are too few
    assert crops.weights[0].tolist() == [0.5] * 17
    config = DatasetConfig(images="photos", annotations="people.json", pseudo="seen.coco.json", min_pseudo_keypoints=3)
    assert load_crops(root, (config,), crop_hw=HW).weights.sum(1).tolist() == [8.5, 1.5]


def test_without_annotations_the_found_people_are_all_there_are(root):
    config = DatasetConfig(images="photos", pseudo="seen.coco.json", min_person_score=0.7)

    crops = load_crops(root, (config,), crop_hw=HW)
    pictures = load_pictures(root, (config,), size=200)

    assert len(crops.boxes) == 2  # of scores .9 and .8; one of .8 has too few keypoints, one too low a score
    assert pictures.complete.tolist() == [False]  # somebody may have been overlooked
    assert int(pictures.valid.sum()) == 3


def test_without_annotations_a_picture_on_which_nobody_was_found_says_nothing(root):
    images = [{"id": n, "file_name": "a.png", "width": 200, "height": 120} for n in (1, 2, 3)]
    write(root / "seen.coco.json", images, [found(1, 2, [10, 10, 60, 100]), found(2, 3, [10, 10, 60, 100], score=0.1)])

    labels = read_labels(root, DatasetConfig(images="photos", pseudo="seen.coco.json"))

    assert [image["id"] for image in labels.images] == [2]


def test_the_frames_of_a_video_are_pictures(root):
    frame = {"file_name": "walkers_000000.png", "width": 640, "height": 360}
    images = [{**frame, "id": number + 1, "frame_index": number} for number in range(6)]
    write(root / "walkers.coco.json", images, [found(n + 1, n + 1, [100, 40, 80, 200]) for n in range(6)])
    config = DatasetConfig(images="walkers.mp4", pseudo="walkers.coco.json", every=2)

    crops = load_crops(root, (config,), crop_hw=HW)

    assert len(crops.boxes) == 3  # of frames 0, 2 and 4
    assert float(crops.canvases[torch.tensor([0])].float().std()) > 5
    write(root / "walkers.coco.json", [{**image, "width": 64} for image in images], [found(1, 1, [1, 1, 80, 200])])
    with pytest.raises(InputError, match=r"walkers\.mp4: frames of 640x360, but walkers\.coco\.json says 64x360"):
        load_crops(root, (config,), crop_hw=HW)


def test_nobody_gets_two_guesses_and_no_guess_two_people():
    known = [{"id": 1, "bbox": [0, 0, 10, 20]}, {"id": 2, "bbox": [2, 0, 10, 20]}]
    guesses = [({"bbox": [1, 0, 10, 20], "score": score}, np.full((17, 3), score)) for score in (0.4, 0.9, 0.5)]

    given = match(known, guesses)

    assert {key: guess[0, 0] for key, guess in given.items()} == {1: 0.9, 2: 0.5}
    assert match(known, []) == match([], guesses) == {}


def test_boxes_of_pictures_that_are_not_fully_boxed_are_left_out(root):
    images = [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "b.png", "all_persons_boxed": False}]
    write(root / "boxes.json", images, [boxed(1, 1, [1, 2, 3, 4]), boxed(2, 2, [1, 2, 3, 4])])

    assert read_boxes(root / "boxes.json") == {"a.png": [[1, 2, 3, 4]]}


@pytest.mark.parametrize(
    ("images", "people", "said"),
    [
        ([{"id": 1}], [], "image 1: file_name is null"),
        ([{"id": 1, "file_name": "../a.png"}], [], "leads out of the dataset"),
        ([{"id": 1, "file_name": "a.png"}], [{"id": 1, "image_id": 2}], "annotation 1: image_id 2 is not among"),
        ([{"id": 1, "file_name": "a.png"}], [boxed(1, 1, [1, 2, 3])], "bbox has 3 numbers, wanted 4"),
        ([{"id": 1, "file_name": "a.png"}], [boxed(1, 1, [1, 2, 3, 4], keypoints=[1])], "keypoints has 1 numbers"),
        ([{"id": 1, "file_name": "a.png"}], [boxed(1, 1, [1, 2, 3, 4], area="big")], 'area is "big"'),
        ([{"id": 1, "file_name": "a.png"}], [7], "annotations\\[0\\]: 7, wanted a JSON object"),
    ],
)
def test_records_that_cannot_be_used_are_named(images, people, said, root):
    write(root / "people.json", images, people)

    with pytest.raises(InputError, match=said):
        read_labels(root, DatasetConfig(images="photos", annotations="people.json"))


@pytest.mark.parametrize(
    ("pseudo", "said"),
    [
        ("[1]", "\\[0\\]: 1, wanted a JSON object"),
        ('[{"annotation_id": 1, "keypoints": [1, 2]}]', "keypoints has 2 numbers, wanted 51"),
        ('{"images": []}', "found no COCO dataset"),
        ('{"images": [{"id": 1, "file_name": "a"}], "annotations": [{"id": 1, "image_id": 1, "bbox": [1, 2, 3, 4]}]}',
         "annotation 1: no score"),
    ],
)  # fmt: skip
def test_pseudo_labels_that_are_none_are_named(pseudo, said, root):
    (root / "pseudo.json").write_text(pseudo)

    with pytest.raises(InputError, match=said):
        read_labels(root, DatasetConfig(images="photos", annotations="people.json", pseudo="pseudo.json"))
