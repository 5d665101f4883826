"""Intervals and paired comparisons: resampled images are images given twice, or not at all."""

import copy

import numpy as np
import pytest

from coco_people import make_dataset, make_results, raw_coco_stats
from posecli.evaluation import check_ground_truth, check_results, compare, intervals, pack, resample, score
from posecli.evaluation.bootstrap import draw_images


@pytest.fixture
def scored(ground_truth, dataset):
    return {noise: score_of(ground_truth, make_results(dataset, noise=noise)) for noise in (0.03, 0.05)}


def score_of(ground_truth, poses):
    return score(pack(ground_truth, check_results(poses, ground_truth)))


def drawn_dataset(dataset, poses, drawn):
    """Copy every image, with its people and poses, as often as it is drawn."""
    images, annotations, copies = [], [], []
    for place, times in enumerate(drawn):
        for number in range(times):
            old, new = place + 1, 1000 * (place + 1) + number
            images.append({"id": new})
            annotations += [a | {"image_id": new} for a in dataset["annotations"] if a["image_id"] == old]
            copies += [p | {"image_id": new} for p in poses if p["image_id"] == old]
    annotations = [annotation | {"id": number} for number, annotation in enumerate(annotations, start=1)]
    return {**dataset, "images": images, "annotations": copy.deepcopy(annotations)}, copies


def test_a_resample_is_pycocotools_on_copied_images(dataset, ground_truth):
    poses = make_results(dataset, noise=0.05)

    samples = resample(score_of(ground_truth, poses), 5, seed=3)

    expected = [
        raw_coco_stats(*drawn_dataset(dataset, poses, drawn))[[0, 1, 2, 5]] for drawn in draw_images(12, 5, seed=3)
    ]
    np.testing.assert_allclose(samples, expected, rtol=0, atol=1e-9)


def test_the_interval_holds_the_score_and_shrinks_with_more_images():
    widths = []
    for num_images in (10, 160):
        dataset = make_dataset(num_images=num_images)
        found = score_of(check_ground_truth(dataset, name="gt.json"), make_results(dataset, noise=0.05))
        interval = intervals(resample(found, 200))["ap"]
        assert interval.low < found.curves.ap < interval.high
        widths.append(interval.high - interval.low)

    assert widths[1] < widths[0] / 2  # 4 in theory


def test_the_better_results_are_told_and_equal_ones_are_not(scored):
    good, bad = scored[0.03], scored[0.05]
    samples = {noise: resample(found, 200) for noise, found in scored.items()}

    better = compare(bad, good, samples[0.05], samples[0.03])
    worse = compare(good, bad, samples[0.03], samples[0.05])
    same = compare(bad, bad, samples[0.05], samples[0.05])

    assert (better.verdict, worse.verdict, same.verdict) == ("b is better", "a is better", "no difference shown")
    assert better.difference == pytest.approx(good.curves.ap - bad.curves.ap)
    assert better.interval.low < better.difference < better.interval.high
    assert (same.difference, same.share_better) == (0, 0)


def test_one_pose_moved_a_little_is_no_difference(dataset, ground_truth):
    poses = make_results(dataset, noise=0.05)
    moved = copy.deepcopy(poses)
    moved[0]["keypoints"] = [value + 12 for value in moved[0]["keypoints"]]
    a, b = score_of(ground_truth, poses), score_of(ground_truth, moved)

    assert a.curves.ap != b.curves.ap
    assert compare(a, b, resample(a, 200), resample(b, 200)).verdict == "no difference shown"


def test_draws_without_anybody_are_left_out(dataset):
    dataset["annotations"] = dataset["annotations"][:3]  # all on image 1 of 12
    found = score_of(check_ground_truth(dataset, name="gt.json"), make_results(dataset, noise=0.0))

    samples = resample(found, 50)

    assert 0 < len(samples) < 50
    assert intervals(samples)["ap"].high == pytest.approx(1)
    assert intervals(samples[:0]) == {}
