"""The drawing of `infer` and that of `render` are the same, and hostile files are refused."""

import json
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

import clips
from fakes import OnePersonPerFrame
from posecli.config import OverlayConfig, ReadConfig, RunOptions, TimelineConfig
from posecli.engines.local import annotate_source
from posecli.engines.redraw import redraw
from posecli.errors import InputError
from posecli.media.pose_file import PoseFile


def infer(path, folder, **options):
    report = annotate_source(str(path), OnePersonPerFrame(), RunOptions(directory=folder, **options), lambda *_: None)
    assert report.status == "ok", report.error
    return next(folder.glob("*.coco.json"))


def again(path, poses, folder, config=None):
    folder.mkdir(exist_ok=True)
    return redraw(str(path), PoseFile(poses), folder, config or OverlayConfig(), lambda _: None)


def pictures(path):
    with av.open(str(path)) as container:
        return [(frame.pts, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"drawing": OverlayConfig(background="blur", labels=("id", "score", "names"), thickness=2)},
        {"timeline": TimelineConfig(track=True), "drawing": OverlayConfig(labels=("id",))},
        {"reading": ReadConfig(start=0.3, end=1.0, stride=2)},
        {"explain": True},
    ],
)
def test_a_video_drawn_again_is_the_drawing_of_infer(tmp_path, options):
    path = clips.write_clip(
        tmp_path / "a.mkv", pts=[k * 40 + k % 3 for k in range(30)], time_base=Fraction(1, 1000), audio="aac"
    )
    poses = infer(path, tmp_path / "out", **options)

    (written,) = again(path, poses, tmp_path / "again", options.get("drawing"))

    assert written == tmp_path / "again" / "a.overlay.mp4"
    first, second = pictures(tmp_path / "out" / "a.overlay.mp4"), pictures(written)
    assert [pts for pts, _ in first] == [pts for pts, _ in second]
    assert all((a == b).all() for (_, a), (_, b) in zip(first, second, strict=True))
    plain = pictures(path)
    assert any(a.shape != b.shape or (a != b).any() for (_, a), (_, b) in zip(second, plain, strict=False))


def test_a_folder_drawn_again_is_the_drawing_of_infer(tmp_path):
    for name in ("a.png", "b.jpg"):
        (tmp_path / "in").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "in" / name), np.full((48, 64, 3), 90, np.uint8))
    poses = infer(tmp_path / "in", tmp_path / "out")

    (written,) = again(tmp_path / "in", poses, tmp_path / "again")

    for name in ("a.png", "b.jpg"):
        assert (written / name).read_bytes() == (tmp_path / "out" / "in.overlay" / name).read_bytes()


def test_files_of_other_tools_are_drawn_by_their_names(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((48, 64, 3), 90, np.uint8))
    keypoints = [value for k in range(17) for value in (5 + k, 40 - k, 2 if k % 2 else 0)]
    person = {"id": 9, "image_id": 7, "category_id": 1, "bbox": [5, 20, 30, 25], "keypoints": keypoints}
    dataset = {
        "images": [{"id": 7, "file_name": "train/a.png", "width": 64, "height": 48}],
        "annotations": [person],
        "categories": [{"id": 1, "name": "person"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(dataset))

    (written,) = again(tmp_path / "a.png", tmp_path / "a.json", tmp_path / "out")

    drawn = cv2.imread(str(written))
    assert (drawn[35:40, 6:10] != 90).any()  # keypoint 1 has a label, and so have all with odd numbers
    assert (drawn[20:24, 20:23] != 90).any()
    assert (drawn[:20] == 90).all()


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    path = clips.write_clip(folder / "a.mp4")
    return path, json.loads(infer(path, folder / "out", overlay=False).read_text())


def edited(tmp_path, dataset, edit):
    copy = json.loads(json.dumps(dataset))
    edit(copy)
    (tmp_path / "a.json").write_text(json.dumps(copy))
    return tmp_path / "a.json"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d["images"][3].update(width=65), r"a_000003\.png. is 65x48, this one 64x48"),
        (lambda d: d["images"][3].update(pts=7), r"a_000003\.png. has the time stamp 7, this one"),
        (lambda d: (d["images"].pop(), d["annotations"].pop()), r"has no frame 11 of .*a\.mp4; it is about another"),
        (lambda d: d["images"].append({**d["images"][0], "id": 99, "frame_index": 99}), r"1 of 13 frames are not in"),
        (lambda d: d["images"].append(d["images"][0]), r"images\[12\]: id 1 is there twice"),
        (lambda d: d["annotations"][0].update(image_id=77), r"annotations\[0\]: image_id 77 is not among"),
        (lambda d: d["annotations"][0]["keypoints"].pop(), r"keypoints has 50 numbers, wanted 51"),
        (lambda d: d["annotations"][0]["keypoints"].__setitem__(2, 0.83), r"v is 0.83, wanted 0, 1 or 2"),
        (lambda d: d["annotations"][0]["keypoints"].__setitem__(0, float("nan")), r"keypoints\[0\] is NaN"),
        (lambda d: d["annotations"][0].update(bbox="all"), r"bbox is \"all\""),
        (lambda d: d["annotations"][0]["attributes"].update(keypoint_scores=[1]), r"keypoint_scores has 1 numbers"),
        (lambda d: d.update(images={}), r"no list of images"),
        (lambda d: d["images"][0].update(file_name=["x"], frame_index=None), r"file_name is a list"),
        (lambda d: d["images"][0].update(rejections=[{"bbox": [1, 2, 3]}]), r"rejections\[0\]: bbox has 3 numbers"),
        (lambda d: d["info"].update(reading={"start": "x"}), r"info.reading cannot be used"),
        (lambda d: d["info"].update(reading={"path": "/etc"}), r"info.reading is not what posecli writes"),
        (lambda d: d["info"].update(reading={"stride": 0}), r"info.reading cannot be used \(stride must be 1"),
    ],
)
def test_a_file_that_does_not_fit_or_is_hostile_is_refused_and_nothing_is_written(tmp_path, made, edit, message):
    path, dataset = made

    with pytest.raises(InputError, match=message):
        again(path, edited(tmp_path, dataset, edit), tmp_path / "out")

    assert not [name for name in tmp_path.rglob("*") if "overlay" in name.name]


@pytest.mark.parametrize("text", ["[]", "{", "3", '{"images": 1, "annotations": []}', "[" * 100_000])
def test_what_is_no_dataset_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text)

    with pytest.raises(InputError, match=r"a\.json: "):
        PoseFile(tmp_path / "a.json")
