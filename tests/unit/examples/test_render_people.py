"""The rendered people's truth: inside the silhouette, consistent, repeatable, and the same clip as committed."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
from pycocotools.coco import COCO

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture(scope="module")
def render_people(load_example):
    return load_example("render_people")


@pytest.fixture(scope="module")
def scenes(render_people):
    return [render_people.random_picture(np.random.default_rng((3, k)), 192) for k in range(6)]


def portrait(render_people, yaw):
    """Keypoints of somebody who stands straight, 200 pixels tall."""
    rng = np.random.default_rng(0)
    outfit = render_people.random_outfit(rng, False)
    pose = render_people.Pose(yaw=yaw)
    figure = render_people.Figure(render_people.Body(), pose, outfit, (150, 240), 200, 0.0, np.zeros(3, np.float32), 0)
    _, (person,) = render_people.compose(
        np.ones((260, 300, 3), np.float32), [figure], render_people.random_light(rng), 0
    )
    return dict(zip(render_people.KEYPOINTS, np.reshape(person["keypoints"], (17, 3)), strict=True)), person


def test_keypoints_lie_in_the_silhouettes_box(scenes):
    for _, people in scenes:
        for person in people:
            points = np.reshape(person["keypoints"], (17, 3))
            seen = points[points[:, 2] == 2, :2]
            low, high = np.array(person["bbox"][:2]), np.array(person["bbox"][:2]) + person["bbox"][2:]
            assert (seen >= low - 2).all()
            assert (seen <= high + 2).all()


def test_counts_and_visibility_agree(scenes):
    assert sum(len(people) for _, people in scenes) >= 6
    for rgb, people in scenes:
        height, width = rgb.shape[:2]
        for person in people:
            x, y, v = np.reshape(person["keypoints"], (17, 3)).T
            assert person["num_keypoints"] == (v > 0).sum() > 0
            assert not x[v == 0].any()
            assert not y[v == 0].any()
            assert ((x <= width - 1) & (y <= height - 1) & np.isin(v, (0, 1, 2))).all()
            assert 0 < person["area"] <= person["bbox"][2] * person["bbox"][3]


def test_left_is_on_the_pictures_right_when_facing_the_camera(render_people):
    points, person = portrait(render_people, yaw=0)

    for part in ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"):
        assert points[f"left_{part}"][0] > points[f"right_{part}"][0], part
    assert person["num_keypoints"] == 17
    assert points["nose"][1] < points["left_shoulder"][1] < points["left_hip"][1] < points["left_ankle"][1]


def test_face_is_not_labelled_from_behind(render_people):
    points, _ = portrait(render_people, yaw=180)

    assert points["nose"][2] == points["left_eye"][2] == points["right_eye"][2] == 0
    assert points["left_shoulder"][0] < points["right_shoulder"][0]


def test_far_side_is_hidden_in_profile(render_people):
    points, _ = portrait(render_people, yaw=90)

    assert (points["left_ear"][2], points["right_ear"][2]) == (0, 2)
    assert (points["left_shoulder"][2], points["right_shoulder"][2]) == (1, 2)


def test_the_seed_decides_everything(render_people, scenes):
    rgb, people = render_people.random_picture(np.random.default_rng((3, 2)), 192)

    np.testing.assert_array_equal(rgb, scenes[2][0])
    assert people == scenes[2][1]


def test_committed_clip_and_truth_belong_together():
    truth = COCO(EXAMPLES / "walkers.coco.json")
    with av.open(str(EXAMPLES / "walkers.mp4")) as file:
        frames = sum(1 for _ in file.decode(video=0))

    assert frames == len(truth.imgs)
    assert [truth.imgs[k]["frame_index"] for k in sorted(truth.imgs)] == list(range(frames))
    assert {len(truth.getAnnIds(imgIds=[k])) for k in truth.imgs} >= {0, 1, 2, 3}


def test_committed_truth_is_what_the_script_renders(render_people):
    truth = json.loads((EXAMPLES / "walkers.coco.json").read_text(encoding="utf-8"))
    time = truth["images"][60]["time"]
    figures = [walker.at(time) for walker in render_people.WALKERS]
    blank = np.ones((360, 640, 3), np.float32)
    _, people = render_people.compose(blank, figures, render_people.random_light(np.random.default_rng(0)), 0)

    committed = [person["keypoints"] for person in truth["annotations"] if person["image_id"] == 61]
    np.testing.assert_allclose([person["keypoints"] for person in people], committed, atol=0.11)
