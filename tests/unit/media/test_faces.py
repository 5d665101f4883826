import numpy as np
import pytest
import torch

from posecli.config import OverlayConfig
from posecli.media.faces import head_regions, hide
from posecli.media.overlay import draw
from posecli.records import Poses


def person(head_score, box=(100.0, 50.0, 200.0, 350.0)):
    """A person whose head is at (150, 80), 40 pixels from ear to ear."""
    points, scores = torch.zeros(1, 17, 2), torch.zeros(1, 17)
    for keypoint, x, y in ((0, 150, 85), (1, 158, 78), (2, 142, 78), (3, 170, 80), (4, 130, 80)):
        points[0, keypoint], scores[0, keypoint] = torch.tensor([float(x), float(y)]), head_score
    return Poses(torch.tensor([box]), points, scores, torch.tensor([0.5]))


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (400, 300, 3), dtype=np.uint8)


def detail(image):
    """Mean difference of neighbours: 0 for a plain area, about 85 for noise."""
    return np.abs(np.diff(image.astype(int), axis=1)).mean()


@pytest.mark.parametrize("score", [0.9, 0.2, 0.0])
def test_a_face_is_unrecognisable_also_where_the_network_is_not_sure_of_it(noise, score):
    drawn = draw(noise, person(score), config=OverlayConfig(blur_faces=True))

    assert detail(noise[65:105, 130:170]) > 60
    assert detail(drawn[65:70, 135:165]) < 10  # a forehead, where no line is drawn over it
    np.testing.assert_array_equal(drawn[250:], noise[250:])  # the legs stay
    np.testing.assert_array_equal(drawn[:, :40], noise[:, :40])


def test_an_unsure_head_hides_the_top_of_the_box():
    sure, unsure = head_regions(person(0.9)), head_regions(person(0.1))

    assert len(sure) == 1
    assert len(unsure) == 2
    assert unsure[1].y + unsure[1].radius_y > 120


def test_a_head_region_covers_all_of_the_heads_keypoints_with_a_margin():
    (region,) = head_regions(person(0.9))

    for x, y in ((150, 85), (170, 80), (130, 80)):
        assert ((x - region.x) / region.radius_x) ** 2 + ((y - region.y) / region.radius_y) ** 2 < 0.6


@pytest.mark.parametrize("wild", [float("nan"), float("inf"), 1e9])
def test_wild_numbers_do_not_stop_the_hiding(noise, wild):
    poses = person(0.9)
    poses.keypoints[0, 0, 0] = wild
    poses = Poses(torch.tensor([[wild, 0, 5, 5]]), poses.keypoints, poses.keypoint_scores, poses.scores)

    hide(noise, head_regions(poses))


def test_a_face_at_the_border_is_hidden_as_far_as_it_is_there(noise):
    poses = person(0.9)
    poses = Poses(poses.boxes, poses.keypoints - torch.tensor([150.0, 80.0]), poses.keypoint_scores, poses.scores)

    hide(noise, head_regions(poses))

    assert detail(noise[:8, :8]) < 30


def test_more_faces_are_hidden_when_told(noise):
    regions = head_regions(person(0.9))

    drawn = draw(noise, Poses.empty(), config=OverlayConfig(blur_faces=True), more_faces=regions)

    assert detail(drawn[65:70, 135:165]) < 10
