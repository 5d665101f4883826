import json

import pytest
import torch
from pycocotools.coco import COCO

from posecli.config import MergeConfig
from posecli.media import files
from posecli.media.coco import frame_entry
from posecli.media.coco_sink import CocoSink, read_info
from posecli.records import Annotated, Frame, Poses, Rejection
from posecli.skeleton import KEYPOINTS

INFO = {"version": "0", "rotation": 90, "source": "写.mp4", "header_frames": 4}


def people(count):
    points = torch.rand(count, 17, 2) * 40
    scores = torch.linspace(0, 1, 17).repeat(count, 1)
    boxes = torch.tensor([[1.04, 2, 11.5, 22]]).repeat(count, 1)
    return Poses(boxes, points, scores, torch.full((count,), 0.98765), ("proposal",) * count)


def entry(index, count, *, status="ok"):
    frame = Frame(index, None, 64, 48, f"walk_{index:06d}.png", index * 40, index / 25, status)
    rejections = (Rejection((0, 0, 5, 6), 0.3, "same_pose", 4),)
    return frame_entry(Annotated(frame, people(count), count, rejections), explain=True)


def write_three(directory):
    sink = CocoSink(directory, "walk", INFO, MergeConfig())
    for index, count in ((0, 2), (7, 0), (9, 1)):
        sink.write(entry(index, count, status="decode_error" if index == 7 else "ok"))
    return sink


def test_the_dataset_lists_every_frame_and_loads_in_pycocotools(tmp_path, capsys):
    results, dataset = write_three(tmp_path).finish()

    truth = COCO(str(dataset))
    assert truth.dataset["info"] == INFO
    assert [image["id"] for image in truth.dataset["images"]] == [1, 2, 3]
    assert [image["status"] for image in truth.dataset["images"]] == ["ok", "decode_error", "ok"]
    assert [(a["id"], a["image_id"]) for a in truth.dataset["annotations"]] == [(1, 1), (2, 1), (3, 3)]
    assert truth.dataset["categories"][0]["keypoints"] == list(KEYPOINTS)
    assert truth.dataset["categories"][0]["skeleton"][0] == [16, 14]
    assert len(truth.loadRes(str(results)).dataset["annotations"]) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["walk.coco.json", "walk.results.json"]


def test_visibility_is_whole_and_counts_agree(tmp_path):
    _, dataset = write_three(tmp_path).finish()

    for annotation in json.loads(dataset.read_text())["annotations"]:
        x, y, v = (annotation["keypoints"][start::3] for start in range(3))
        scores = annotation["attributes"]["keypoint_scores"]
        assert v == [2 if score >= 0.55 else 1 if score >= 0.3 else 0 for score in scores]
        assert all(type(value) is int for value in v)
        assert annotation["num_keypoints"] == sum(value > 0 for value in v)
        assert all((x[k], y[k]) == (0, 0) for k in range(17) if not v[k])
        assert annotation["bbox"] == [1.0, 2.0, 10.5, 20.0]
        assert annotation["area"] == 210
        assert annotation["score"] == 0.988
        assert annotation["iscrowd"] == 0


def test_results_have_no_box_and_rounded_numbers(tmp_path):
    results, _ = write_three(tmp_path).finish()

    poses = json.loads(results.read_text())

    assert {tuple(pose) for pose in poses} == {("image_id", "category_id", "keypoints", "score")}
    assert all(value == round(value, 3) for pose in poses for value in pose["keypoints"])
    assert all(value == round(value, 1) for pose in poses for value in pose["keypoints"][::3])


def test_a_source_without_people_gives_whole_files(tmp_path):
    sink = CocoSink(tmp_path, "empty", {}, MergeConfig())
    sink.write(entry(0, 0))
    results, dataset = sink.finish()

    assert json.loads(results.read_text()) == []
    assert len(json.loads(dataset.read_text())["images"]) == 1


def test_rejections_are_written_on_request(tmp_path):
    _, dataset = write_three(tmp_path).finish()

    rejection = json.loads(dataset.read_text())["images"][0]["rejections"][0]
    assert (rejection["reason"], rejection["bbox"], rejection["box_score"]) == ("same_pose", [0, 0, 5, 6], 0.3)


def test_an_abort_leaves_the_files_of_an_earlier_run(tmp_path):
    (tmp_path / "walk.coco.json").write_text("old")

    write_three(tmp_path).abort()

    assert [path.name for path in tmp_path.iterdir()] == ["walk.coco.json"]
    assert (tmp_path / "walk.coco.json").read_text() == "old"


def test_a_failure_while_finishing_leaves_the_old_files(tmp_path, monkeypatch):
    (tmp_path / "walk.coco.json").write_text("old")
    sink = write_three(tmp_path)

    def fill_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fill_disk)
    with pytest.raises(OSError, match="No space"):
        sink.finish()

    assert [path.name for path in tmp_path.iterdir()] == ["walk.coco.json"]
    assert (tmp_path / "walk.coco.json").read_text() == "old"


def test_what_a_killed_run_left_is_written_over(tmp_path):
    for name in (".walk.coco.json.part", ".walk.annotations.part", ".walk.results.json.part"):
        (tmp_path / name).write_text("half" * 1000)

    _, dataset = write_three(tmp_path).finish()

    assert len(json.loads(dataset.read_text())["annotations"]) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["walk.coco.json", "walk.results.json"]


def test_the_info_is_read_without_the_rest(tmp_path):
    results, dataset = write_three(tmp_path).finish()
    (tmp_path / "other.json").write_text('{"images": []}')

    assert read_info(dataset) == INFO
    assert read_info(results) is None
    assert read_info(tmp_path / "other.json") is None
    assert read_info(tmp_path / "missing.json") is None
