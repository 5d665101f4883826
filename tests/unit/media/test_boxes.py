"""Boxes that the user brings: which frame gets which, and what is wrong with a file, said by its first bad record."""

from __future__ import annotations

import json

import pytest
import torch

from posecli.errors import InputError
from posecli.media.boxes import BoxFile
from posecli.records import Frame


def frame(index, name, **options):
    return Frame(index=index, image=None, width=100, height=100, file_name=name, **options)


def box(left, **record):
    return {"bbox": [left, 2, 30, 40], **record}


def lefts(file, *frames):
    return [None if found is None else found[0][:, 0].tolist() for found in file(frames)]


@pytest.fixture
def written(tmp_path):
    def write(data):
        path = tmp_path / "boxes.json"
        path.write_text(data if isinstance(data, str) else json.dumps(data))
        return path

    return write


@pytest.fixture
def read(written):
    return lambda data: BoxFile(written(data))


def test_boxes_come_as_xyxy_with_their_scores(read):
    file = read([box(1, image_id=1, score=0.25), box(5, image_id=1)])

    ((boxes, scores),) = file([frame(0, "clip_000000.jpg")])

    assert boxes.tolist() == [[1, 2, 31, 42], [5, 2, 35, 42]]
    assert (boxes.dtype, scores.tolist()) == (torch.float32, [0.25, 1.0])


def test_a_result_goes_by_the_ground_truths_id_then_a_numeric_name_then_the_index(read):
    file = read([box(1, image_id=1), box(139, image_id=139), box(7, image_id=7)])

    assert lefts(file, frame(4, "000000000139.jpg")) == [[139]]
    assert lefts(file, frame(4, "000000000139.jpg", image_id=7)) == [[7]]
    assert lefts(file, frame(0, "clip_000000.jpg")) == [[1]]
    assert lefts(file, frame(0, "²7.jpg")) == [[1]]  # a digit to Python, but no number


def test_a_result_may_name_its_file_or_frame(read):
    file = read([box(1, file_name="a.jpg"), box(2, image_id="b.jpg"), box(3, frame_index=2)])

    assert lefts(file, frame(0, "a.jpg"), frame(1, "b.jpg"), frame(2, "c.jpg")) == [[1], [2], [3]]
    assert file.names_files
    assert not read([box(3, frame_index=2)]).names_files


def test_a_dataset_goes_by_file_names_whatever_its_ids(read):
    file = read(
        {
            "images": [
                {"id": 1, "file_name": "day/a.jpg"},
                {"id": 2, "file_name": "night/a.jpg"},
                {"id": 9, "file_name": "day/b.jpg", "frame_index": 0},
                {"id": 4, "file_name": "empty.jpg"},
            ],
            "annotations": [box(1, image_id=1), box(2, image_id=2), box(9, image_id=9)],
        }
    )

    assert lefts(file, frame(0, "night/a.jpg"), frame(1, "b.jpg"), frame(2, "empty.jpg")) == [[2], [9], []]
    assert file.missing == 0
    assert lefts(file, frame(0, "a.jpg", image_id=1), frame(1, "far/b.jpg")) == [
        None,
        None,
    ]  # which a.jpg? and no such b
    assert file.missing == 2


def test_only_people_count_and_no_crowds(read):
    images = [{"id": 1, "file_name": "a.jpg"}]
    animals = [{"id": 3, "name": "dog"}, {"id": 8, "name": "person"}]
    annotations = [box(1, image_id=1, category_id=3), box(2, image_id=1, category_id=8)]
    annotations.append(box(3, image_id=1, category_id=8, iscrowd=1))
    dataset = read({"images": images, "annotations": annotations, "categories": animals})
    results = read([box(1, image_id=1, category_id=2), box(2, image_id=1, category_id=1)])

    assert lefts(dataset, frame(0, "a.jpg")) == [[2]]
    assert lefts(results, frame(0, "a.jpg")) == [[2]]


def test_no_boxes_at_all_are_no_error(read):
    file = read([])

    assert lefts(file, frame(0, "a.jpg")) == [None]
    assert file.missing == 1


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ("{", "not JSON"),
        ("17", "17, wanted COCO results"),
        ("[" * 100_000, "cannot be read"),
        ([box(1, image_id=1), 5], r"\[1\]: 5, wanted a JSON object"),
        ([{"image_id": 1}], r"\[0\]: no bbox"),
        ([{"image_id": 1, "bbox": [1, 2, 3]}], r"\[0\]: bbox has 3 numbers"),
        ('[{"image_id": 1, "bbox": [1, NaN, 3, 4]}]', r"\[0\]: bbox\[1\] is NaN"),
        ([{"image_id": 1, "bbox": [1, 2, -3, 4]}], r"\[0\]: bbox has width -3 and height 4"),
        ([box(1, image_id=1, score=3)], r"\[0\]: score is 3, wanted a number in \[0, 1\]"),
        ([box(1, image_id=1, score="high")], r'\[0\]: score is "high"'),
        ([box(1, image_id=1.5)], r"\[0\]: image_id is 1.5, wanted an integer"),
        ([box(1, frame_index=True)], r"\[0\]: frame_index is true"),
        ([box(1)], r"\[0\]: no image_id, file_name or frame_index"),
        ([box(1, image_id=1, category_id="person")], r'\[0\]: category_id is "person"'),
        ({"annotations": []}, "no list of images"),
        ({"images": [], "annotations": [box(1, image_id=3)]}, r"annotations\[0\]: image_id 3 is not among"),
        ({"images": [{"id": 1}], "annotations": []}, r"images\[0\]: no image_id, file_name or frame_index"),
        ({"images": [{"id": 1, "file_name": "a"}] * 2, "annotations": []}, r"images\[1\]: id 1 is there twice"),
        (
            {"images": [{"id": 1, "file_name": "a"}, {"id": 2, "file_name": "a"}], "annotations": []},
            r'images\[1\]: file_name "a" is there twice',
        ),
        (
            {"images": [], "annotations": [], "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}]},
            "no category is called person",
        ),
    ],
)
def test_bad_files_are_told_by_their_first_bad_record(written, data, complaint):
    path = written(data)

    with pytest.raises(InputError, match=complaint) as caught:
        BoxFile(path)

    assert str(caught.value).startswith(str(path))


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        BoxFile(tmp_path / "none.json")
