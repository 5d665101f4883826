import math

import pytest
import torch

from posecli.config import POSE_NMS, POSE_SCORES, MergeConfig
from posecli.errors import ConfigError
from posecli.records import Candidates
from posecli.stages.merge import merge, pose_scores


def candidates(box_scores, lefts):
    count = len(box_scores)
    boxes = torch.tensor([[left, 0.0, left + 50.0, 100.0] for left in lefts]).view(-1, 4)
    origins = ("proposal", "bottom_up", "second_in_box")[:count]
    return Candidates(boxes, torch.tensor(box_scores), torch.zeros(count, 17, 2), torch.zeros(count, 17), origins)


def poses_at(lefts, seed=0):
    shape = torch.rand(17, 2, generator=torch.Generator().manual_seed(seed)) * torch.tensor([50.0, 100.0])
    return torch.stack([shape + torch.tensor([left, 0.0]) for left in lefts])


@pytest.mark.parametrize(("kind", "expected"), [("counted", [0.5 * 0.7, 0.05]), ("mean", [0.5 * 0.5, 0.05])])
def test_score_is_box_score_times_mean_of_keypoints(kind, expected):
    keypoint_scores = torch.tensor([[0.1, 0.5, 0.9], [0.1, 0.05, 0.0]])

    as_in_hrnet = MergeConfig(pose_score=kind, pose_share=0.5, min_keypoint_score=0.2)
    scores = pose_scores(torch.tensor([0.5, 1.0]), keypoint_scores, as_in_hrnet)

    torch.testing.assert_close(scores, torch.tensor(expected))


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0.25**2), (0.75, 0.25**0.5 * 0.64**1.5), (1.0, 0.64**2)])
def test_score_is_a_weighed_mean_of_logarithms_of_box_and_keypoints(share, expected):
    scores = pose_scores(torch.tensor([0.25]), torch.full((1, 17), 0.64), MergeConfig(pose_share=share))

    assert float(scores) == pytest.approx(expected)


def test_unsure_keypoints_leave_the_score_alone():
    sure, half = torch.full((1, 17), 0.8), torch.full((1, 17), 0.8)
    half[0, 8:] = 0.3

    assert pose_scores(torch.ones(1), half, MergeConfig()) == pose_scores(torch.ones(1), sure, MergeConfig())


def test_calibrated_score_is_the_logistic_curve_of_the_counted_scores_odds():
    box_scores, keypoint_scores = torch.tensor([0.0, 0.2, 0.5, 0.9, 1.0]), torch.ones(5, 17)
    config = MergeConfig(pose_score="calibrated", pose_share=0.5, calibration=(1.7, -0.4))

    scores = pose_scores(box_scores, keypoint_scores, config)

    expected = [1 / (1 + math.exp(0.4 - 1.7 * math.log(score / (1 - score)))) for score in (0.2, 0.5, 0.9)]
    assert scores[1:4].tolist() == pytest.approx(expected, abs=1e-6)
    assert 0 <= float(scores[0]) < 1e-6
    assert 1 - 1e-6 < float(scores[4]) <= 1
    as_it_is = MergeConfig(pose_score="calibrated", pose_share=0.5, calibration=(1.0, 0.0))
    torch.testing.assert_close(pose_scores(box_scores, keypoint_scores, as_it_is), box_scores, rtol=0, atol=2e-6)


@pytest.mark.parametrize("wrong", [(0.0, 1.0), (-1.0, 0.0), (1.0,), (float("nan"), 0.0), (1.0, float("inf"))])
def test_a_curve_that_does_not_rise_is_refused(wrong):
    with pytest.raises(ConfigError, match="calibration"):
        MergeConfig(calibration=wrong)


def test_people_come_best_first_with_their_boxes_and_origins():
    people = candidates([0.5, 0.9, 0.7], [0, 200, 400])

    poses = merge(people, poses_at([0, 200, 400]), torch.full((3, 17), 0.8), MergeConfig())

    assert poses.scores.tolist() == pytest.approx([box**0.5 * 0.8**1.5 for box in (0.9, 0.7, 0.5)])
    assert poses.boxes[:, 0].tolist() == [200, 400, 0]
    assert poses.origins == ("bottom_up", "second_in_box", "proposal")


def test_same_pose_twice_keeps_the_better():
    people = candidates([0.5, 0.9], [0, 5])

    poses = merge(people, poses_at([0, 0]) + 0.1, torch.full((2, 17), 0.8), MergeConfig())

    assert poses.boxes[:, 0].tolist() == [5]


def test_soft_nms_keeps_the_double_with_a_lower_score():
    people = candidates([0.5, 0.9, 0.4], [0, 5, 300])
    points = poses_at([0, 0, 300])

    poses = merge(people, points, torch.full((3, 17), 0.8), MergeConfig(pose_nms="soft", pose_share=0.5))

    assert poses.boxes[:, 0].tolist() == [5, 300, 0]
    assert poses.scores.tolist() == pytest.approx([0.72, 0.32, 0.4 * math.exp(-1 / 0.9)])


def test_fusion_moves_the_best_pose_halfway_to_its_double():
    people = candidates([0.5, 0.9, 0.4], [0, 5, 300])
    points = poses_at([0.0, 0.4, 300])

    poses = merge(people, points, torch.full((3, 17), 0.8), MergeConfig(pose_nms="fusion", pose_share=0.5))

    assert poses.boxes[:, 0].tolist() == [5, 300]
    torch.testing.assert_close(poses.keypoints, poses_at([0.2, 300]), rtol=0, atol=0.01)
    assert poses.scores.tolist() == pytest.approx([0.72, 0.32])


def test_without_nms_doubles_stay():
    config = MergeConfig(pose_nms="none", pose_share=0.5)
    poses = merge(candidates([0.5, 0.9], [0, 5]), poses_at([0, 0]), torch.ones(2, 17), config)

    assert poses.scores.tolist() == pytest.approx([0.9, 0.5])


def test_low_scores_are_not_written():
    people = candidates([0.5, 0.9], [0, 200])

    poses = merge(people, poses_at([0, 200]), torch.full((2, 17), 0.8), MergeConfig(min_score=0.5, pose_share=0.5))

    assert poses.scores.tolist() == pytest.approx([0.72])


def test_scores_stay_in_range_whatever_the_network_says():
    wild = torch.full((1, 17), 3.0)
    wild[0, :3] = torch.tensor([float("nan"), -1.0, float("inf")])

    poses = merge(candidates([1.0], [0]), poses_at([0]), wild, MergeConfig())

    assert ((poses.keypoint_scores >= 0) & (poses.keypoint_scores <= 1)).all()
    assert poses.scores.tolist() == pytest.approx([1.0])


@pytest.mark.parametrize("pose_nms", POSE_NMS)
@pytest.mark.parametrize("pose_score", POSE_SCORES)
def test_nobody_stays_nobody(pose_nms, pose_score):
    config = MergeConfig(pose_nms=pose_nms, pose_score=pose_score)

    poses = merge(candidates([], []), torch.zeros(0, 17, 2), torch.zeros(0, 17), config)

    assert len(poses) == 0
    assert poses.keypoints.shape == (0, 17, 2)
    assert poses.origins == ()
