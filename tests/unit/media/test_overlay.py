from dataclasses import replace

import numpy as np
import pytest
import torch

from posecli.config import OverlayConfig
from posecli.media.overlay import draw, thickness
from posecli.records import Poses, Rejection


def one_person(left_xy=(20, 30), right_xy=(60, 30), score=0.9):
    """Left shoulder to left elbow, right shoulder to right elbow; nothing else is seen."""
    points, scores = torch.zeros(1, 17, 2), torch.zeros(1, 17)
    for keypoint, (x, y) in ((5, left_xy), (7, (left_xy[0], left_xy[1] + 40)), (6, right_xy), (8, (right_xy[0], 70))):
        points[0, keypoint], scores[0, keypoint] = torch.tensor([float(x), float(y)]), score
    return Poses(torch.tensor([[10.0, 20.0, 70.0, 90.0]]), points, scores, torch.tensor([score]))


@pytest.fixture
def grey():
    return np.full((100, 80, 3), 90, np.uint8)


def test_the_picture_given_is_not_changed(grey):
    before = grey.copy()

    drawn = draw(grey, one_person())

    np.testing.assert_array_equal(grey, before)
    assert drawn.dtype == np.uint8
    assert (drawn != before).any()


def test_left_is_warm_and_right_is_cool(grey):
    drawn = draw(grey, one_person()).astype(int)

    assert drawn[50, 20, 0] > drawn[50, 20, 2] + 100
    assert drawn[50, 60, 2] > drawn[50, 60, 0] + 100


def test_nobody_leaves_the_picture_as_it_is(grey):
    np.testing.assert_array_equal(draw(grey, Poses.empty()), grey)


def test_unsure_keypoints_are_fainter_and_unseen_ones_not_drawn(grey):
    contrast = [abs(draw(grey, one_person(score=score)).astype(int) - grey).max() for score in (0.9, 0.5, 0.29)]

    assert contrast[0] > contrast[1] > contrast[2] == 0


def test_visible_keypoints_are_drawn_at_full_strength(grey):
    full, visible, hidden = (draw(grey, one_person(score=score)) for score in (1.0, 0.55, 0.5))

    np.testing.assert_array_equal(visible, full)
    assert (hidden != full).any()


@pytest.mark.parametrize("wild", [float("nan"), float("inf"), -1e9, 1e9])
def test_wild_numbers_do_not_stop_the_drawing(grey, wild):
    poses = one_person(left_xy=(wild, 30))

    drawn = draw(grey, poses, rejections=[Rejection((wild, 0, wild, 5), 0.1, "low_score")]).astype(int)

    assert drawn[50, 60, 2] > drawn[50, 60, 0] + 100


def test_rejections_are_drawn_when_given(grey):
    assert (draw(grey, Poses.empty(), rejections=[Rejection((5, 30, 60, 90), 0.4, "same_pose")]) != grey).any()


def test_lines_grow_with_person_and_picture():
    widths = [thickness((0, 0, size / 3, size / 2), (size, size)) for size in (240, 720, 2160)]

    assert widths[0] < widths[1] < widths[2]
    assert thickness((0, 0, 4, 8), (2160, 3840)) == 1


@pytest.mark.parametrize(("kind", "sharp"), [("image", True), ("blur", False), ("black", False)])
def test_backgrounds_keep_blur_or_drop_the_picture(kind, sharp):
    stripes = np.zeros((96, 128, 3), np.uint8)
    stripes[:, ::2] = 200

    drawn = draw(np.tile(stripes, (4, 4, 1)), one_person(), config=OverlayConfig(background=kind))

    corner = drawn[200:, 200:].astype(int)
    assert (corner.max() - corner.min() > 150) == sharp
    assert (corner.max() == 0) == (kind == "black")
    assert drawn[50, 20, 0] > drawn[50, 20, 2] + 100  # the person is drawn on each


def test_a_given_thickness_counts_for_everybody(grey):
    thin, thick = (
        (draw(grey, one_person(), config=OverlayConfig(thickness=width)) != grey).any(-1).sum() for width in (1, 6)
    )

    assert thick > 3 * thin


@pytest.mark.parametrize("labels", [("score",), ("id",), ("names",), ("id", "score", "names")])
def test_labels_are_written_and_stay_inside(grey, labels):
    poses = replace(one_person(left_xy=(1, 1), right_xy=(79, 30)), track_ids=(7,))
    plain, labelled = (draw(grey, poses, config=OverlayConfig(labels=wanted)) for wanted in ((), labels))

    assert (plain != labelled).any()


def test_without_a_track_there_is_no_id_to_write(grey):
    np.testing.assert_array_equal(
        draw(grey, one_person(), config=OverlayConfig(labels=("id",))), draw(grey, one_person())
    )


def test_a_drawing_of_any_size_shows_limbs_of_the_same_share():
    shares = []
    base = replace(one_person((60, 60), (120, 60)), boxes=torch.tensor([[40.0, 30, 160, 220]]))
    for scale in (1, 3, 9):
        poses = replace(base, boxes=base.boxes * scale, keypoints=base.keypoints * scale)
        picture = np.full((240 * scale, 320 * scale, 3), 90, np.uint8)
        shares.append((draw(picture, poses) != picture).any(-1).mean())

    assert max(shares) < 3 * min(shares)  # small drawings have a relatively wider seam; a fixed width would be 9 times
