from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from posecli.config import DatasetConfig
from posecli.errors import ConfigError, InputError
from posecli.training.data import load_crops, load_pictures, person_labels, picture_paths
from posecli.training.labels import first_people

HW = (64, 48)


def write(path, value):
    path.write_text(json.dumps(value))


def person(number, image_id, bbox, *, points=(), **more):
    flat = np.zeros((17, 3))
    for index, (x, y) in enumerate(points):
        flat[index] = (x, y, 2)
    entry = {
        "id": number,
        "image_id": image_id,
        "category_id": 1,
        "bbox": bbox,
        "area": bbox[2] * bbox[3],
        "iscrowd": 0,
    }
    return {**entry, "num_keypoints": len(points), "keypoints": flat.ravel().tolist(), **more}


@pytest.fixture
def root(tmp_path):
    """Two pictures with people, the second not fully boxed; a white dot marks the first person's nose."""
    (tmp_path / "photos").mkdir()
    picture = np.zeros((100, 120, 3), np.uint8)
    picture[30, 40] = 255
    cv2.imwrite(str(tmp_path / "photos" / "a.png"), picture)
    cv2.imwrite(str(tmp_path / "photos" / "b.png"), picture)
    images = [
        {"id": 1, "file_name": "a.png", "width": 120, "height": 100, "all_persons_boxed": True},
        {"id": 2, "file_name": "b.png", "width": 120, "height": 100, "all_persons_boxed": False},
    ]
    people = [
        person(1, 1, [20, 10, 45, 60], points=[(40, 30), (50, 40)]),
        person(2, 1, [70, 10, 40, 80]),
        person(3, 2, [20, 10, 45, 60], points=[(40, 30)]),
    ]
    write(tmp_path / "people.json", {"images": images, "annotations": people})
    return tmp_path


def test_points_follow_their_pixels_onto_the_canvas(root):
    crops = load_crops(root, (DatasetConfig(images="photos", annotations="people.json"),), crop_hw=HW)

    assert len(crops.boxes) == 2  # the person without keypoints is no crop
    canvas = crops.canvases[torch.tensor([0])]
    brightest = int(canvas[0, 0].flatten().argmax())
    y, x = divmod(brightest, canvas.shape[-1])
    assert float((crops.points[0, 0] - torch.tensor([x, y])).abs().max()) <= 1.0
    assert crops.weights[0].tolist() == [1, 1] + [0] * 15
    assert crops.present[0].tolist() == [True, True] + [False] * 15


def test_pseudo_labels_fill_gaps_with_less_weight():
    config = DatasetConfig(images="", pseudo_weight=0.5, min_pseudo_score=0.3)
    guess = np.full((17, 3), 7.0, np.float32)
    guess[:, 2] = np.linspace(0, 1, 17)

    points, weights = person_labels(person(1, 1, [0, 0, 9, 9], points=[(3, 4)]), guess, config)

    assert weights[0] == 1
    assert points[0].tolist() == [3, 4]
    assert set(weights[1:5].tolist()) == {0.0}  # scores below .3
    assert set(weights[5:].tolist()) == {0.5}
    assert points[9].tolist() == [7, 7]


def test_places_where_the_pipeline_saw_nobody_teach_absence(root):
    found = [
        person(1, 5, [22, 12, 44, 58]),  # on the first person
        person(2, 5, [2, 70, 15, 28]),  # on nobody
        person(3, 6, [2, 70, 15, 28]),  # on a picture whose people are not all boxed
    ]
    images = [{"id": 5, "file_name": "a.png"}, {"id": 6, "file_name": "b.png"}]
    write(root / "found.json", {"images": images, "annotations": found})
    config = DatasetConfig(images="photos", annotations="people.json", mined="found.json")

    crops = load_crops(root, (config,), crop_hw=HW)

    assert len(crops.boxes) == 3
    assert crops.weights[2].tolist() == [1.0] * 17
    assert not crops.present[2].any()
    alone = load_crops(root, (replace(config, only_mined=True),), crop_hw=HW)
    assert alone.weights.tolist() == crops.weights[2:].tolist()
    with pytest.raises(ConfigError, match="only_mined without mined"):
        DatasetConfig(images="photos", only_mined=True)


def test_pictures_keep_boxes_crowds_and_completeness(root):
    dataset = json.loads((root / "people.json").read_text())
    dataset["annotations"][1]["iscrowd"] = 1
    write(root / "people.json", dataset)

    pictures = load_pictures(root, (DatasetConfig(images="photos", annotations="people.json"),), size=240, people=4)

    assert pictures.canvases[torch.arange(2)].shape == (2, 3, 240, 240)
    assert pictures.sizes_wh.tolist() == [[240, 200], [240, 200]]
    assert pictures.complete.tolist() == [True, False]
    by_left = sorted(
        zip(pictures.boxes[0].tolist(), pictures.valid[0].tolist(), pictures.crowd[0].tolist(), strict=True)
    )
    assert by_left[-2:] == [([40, 20, 130, 140], True, False), ([140, 20, 220, 180], False, True)]
    assert pictures.valid.sum(1).tolist() == [1, 1]


def test_too_many_people_make_a_picture_incomplete(root):
    pictures = load_pictures(root, (DatasetConfig(images="photos", annotations="people.json"),), size=64, people=1)

    assert pictures.complete.tolist() == [False, False]
    assert pictures.boxes.shape == (2, 1, 4)


def test_held_out_pictures_are_three_of_ten_and_never_both(tmp_path):
    for number in range(20):
        (tmp_path / f"{number:02d}.png").touch()

    kept = picture_paths(tmp_path, hold_out=True)
    held = picture_paths(tmp_path, hold_out=True, held_out=True)

    assert len(held) == 6
    assert not set(kept) & set(held)
    assert len(picture_paths(tmp_path, hold_out=False)) == 20


@pytest.mark.parametrize("content", ["", "[]", "{}", "not json"])
def test_annotations_that_are_none_are_refused_by_name(root, content):
    (root / "people.json").write_text(content)

    with pytest.raises(InputError, match=r"people\.json: "):
        load_crops(root, (DatasetConfig(images="photos", annotations="people.json"),), crop_hw=HW)


def test_missing_picture_is_named(root):
    (root / "photos" / "a.png").unlink()

    with pytest.raises(InputError, match=r"a\.png: "):
        load_crops(root, (DatasetConfig(images="photos", annotations="people.json"),), crop_hw=HW)


def test_the_person_whose_box_overlaps_most_is_near(root):
    truth = json.loads((root / "people.json").read_text())
    truth["annotations"] = [
        person(1, 1, [20, 10, 45, 60], points=[(40, 30), (50, 40)]),
        person(2, 1, [30, 10, 45, 60], points=[(60, 30)]),
        person(3, 2, [20, 10, 45, 60], points=[(40, 30)]),
    ]
    write(root / "people.json", truth)

    crops = load_crops(root, (DatasetConfig(images="photos", annotations="people.json"),), crop_hw=HW)

    assert crops.near_labelled.sum(1).tolist() == [1, 2, 0]
    # both canvases show both people: they lie 20 pixels apart on either, in opposite directions
    toward = crops.near_points[:2, 0] - crops.points[:2, 0]
    torch.testing.assert_close(toward[0], -toward[1], rtol=1e-4, atol=1e-4)
    assert toward[0, 0] > 0


def test_first_people_are_the_first_that_make_crops(root):
    truth = json.loads((root / "people.json").read_text())
    truth["annotations"] += [
        person(4, 1, [20, 10, 20, 20], points=[(30, 30)]),  # too small
        person(5, 1, [20, 10, 45, 60], points=[(40, 30)], iscrowd=1),
        person(6, 1, [30, 10, 45, 60], points=[(60, 30)]),
    ]

    assert [entry["id"] for entry in first_people(truth["annotations"])] == [1, 3, 6]
    assert [entry["id"] for entry in first_people(truth["annotations"], 2)] == [1, 3]
    assert [entry["id"] for entry in first_people(truth["annotations"], min_area=0)] == [1, 3, 4, 6]
    config = DatasetConfig(images="photos", annotations="people.json", max_people=1)
    assert len(load_crops(root, (config,), crop_hw=HW).boxes) == 1
