import itertools
import math

import pytest
import torch

from posecli.geometry import paf
from posecli.geometry.heatmaps import HeatmapCodec
from posecli.skeleton import EDGES

CELLS = HeatmapCodec(stride=1, heatmap_sigma=1.5)


def slow_field(starts, ends, map_hw, width):
    """Cell by cell and person by person, as the paper writes it, with round ends."""
    field = torch.zeros(2, *map_hw)
    for row in range(map_hw[0]):
        for column in range(map_hw[1]):
            vectors = []
            for (sx, sy), (ex, ey) in zip(starts, ends, strict=True):
                length = math.hypot(ex - sx, ey - sy)
                if length == 0:
                    continue
                unit = ((ex - sx) / length, (ey - sy) / length)
                along = (column - sx) * unit[0] + (row - sy) * unit[1]
                near = min(max(along, 0.0), length)
                if math.hypot(column - sx - near * unit[0], row - sy - near * unit[1]) <= width:
                    vectors.append(unit)
            if vectors:
                field[:, row, column] = torch.tensor(vectors).mean(dim=0)
    return field


def test_fields_agree_with_a_slow_loop():
    generator = torch.Generator().manual_seed(0)
    keypoints = torch.rand(2, 4, 3, 2, generator=generator) * 24
    valid = torch.rand(2, 4, 3, generator=generator) > 0.3
    keypoints[~valid] = float("nan")

    fields = paf.encode(keypoints, valid, edges=((0, 1), (2, 1)), map_hw=(20, 24), width=1.5)

    for picture in range(2):
        for limb, (first, second) in enumerate(((0, 1), (2, 1))):
            both = valid[picture, :, first] & valid[picture, :, second]
            ends = [keypoints[picture, both, end].tolist() for end in (first, second)]
            expected = slow_field(*ends, (20, 24), 1.5)
            torch.testing.assert_close(fields[picture, 2 * limb : 2 * limb + 2], expected, rtol=0, atol=1e-5)


def test_opposite_limbs_on_one_spot_average_to_nothing():
    keypoints = torch.tensor([[[[2.0, 5.0], [9.0, 5.0]], [[9.0, 5.0], [2.0, 5.0]]]])

    fields = paf.encode(keypoints, torch.ones(1, 2, 2, dtype=torch.bool), edges=((0, 1),), map_hw=(10, 12))

    assert fields.abs().max() == 0


def test_shortest_limb_marks_a_cell_and_no_limb_none():
    keypoints = torch.tensor([[[[4.45, 4.5], [4.55, 4.5], [4.45, 4.5]]]])

    fields = paf.encode(keypoints, torch.ones(1, 1, 3, dtype=torch.bool), edges=((0, 1), (0, 2)), map_hw=(10, 12))

    assert fields[0, 0].max() == pytest.approx(1)
    assert fields[0, 2:].abs().max() == 0


@pytest.mark.parametrize("people", [0, 3])
def test_nobody_valid_leaves_empty_fields(people):
    fields = paf.encode(
        torch.zeros(2, people, 17, 2), torch.zeros(2, people, 17, dtype=torch.bool), edges=EDGES, map_hw=(10, 12)
    )

    assert fields.shape == (2, 38, 10, 12)
    assert not fields.any()


def test_peaks_are_the_drawn_points_best_first():
    points = torch.tensor([[[10.3, 8.6]], [[25.8, 30.1]]])
    heatmaps = (CELLS.encode(points, heatmap_hw=(40, 50)) * torch.tensor([0.5, 0.9])[:, None, None, None]).amax(dim=0)

    peaks, scores = paf.find_peaks(heatmaps, min_score=0.2)

    assert peaks.shape == (1, 2, 2)
    torch.testing.assert_close(peaks[0], points.flip(0)[:, 0], rtol=0, atol=0.05)
    assert scores[0].tolist() == pytest.approx([0.9, 0.5], abs=0.05)


def test_keypoints_with_fewer_peaks_are_filled_up_with_score_zero():
    heatmaps = torch.zeros(3, 20, 20)
    heatmaps[0, 5, 5], heatmaps[0, 5, 9], heatmaps[1, 7, 7] = 0.9, 0.6, 0.1

    peaks, scores = paf.find_peaks(heatmaps, min_score=0.2)

    assert peaks.shape == (3, 2, 2)
    torch.testing.assert_close(scores, torch.tensor([[0.9, 0.6], [0.0, 0.0], [0.0, 0.0]]))


def test_plateau_is_one_peak():
    heatmaps = torch.zeros(1, 20, 20)
    heatmaps[0, 5:7, 5:7] = 0.5

    _, scores = paf.find_peaks(heatmaps, min_score=0.2)

    assert scores.tolist() == [[0.5]]


def test_best_peaks_are_kept_where_there_are_too_many():
    heatmaps = torch.zeros(1, 30, 30)
    heatmaps[0, ::3, ::3] = torch.arange(1, 101).view(10, 10) / 100

    _, scores = paf.find_peaks(heatmaps, min_score=0.0, max_peaks=3)

    torch.testing.assert_close(scores, torch.tensor([[1.0, 0.99, 0.98]]))


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_flat_or_broken_maps_have_no_peaks(value):
    peaks, scores = paf.find_peaks(torch.full((17, 20, 20), value), min_score=0.0)

    assert peaks.shape == (17, 0, 2)
    assert scores.shape == (17, 0)


def test_limb_scores_favour_the_drawn_limb_and_its_direction():
    keypoints = torch.tensor([[[[5.0, 5.0], [30.0, 20.0]]]])
    field = paf.encode(keypoints, torch.ones(1, 1, 2, dtype=torch.bool), edges=((0, 1),), map_hw=(40, 40))[0]
    ends = torch.tensor([[[5.0, 5.0], [30.0, 20.0], [5.0, 35.0]]])

    mean, share = paf.limb_scores(field, ends, ends)

    assert mean[0, 0, 1] == pytest.approx(1, abs=0.01)
    assert mean[0, 1, 0] == pytest.approx(-1, abs=0.01)
    assert mean[0, 0, 2] < 0.3
    assert (share[0, 0, 1], share[0, 1, 0]) == (1, 0)


def test_limb_scores_agree_with_a_slow_loop():
    generator = torch.Generator().manual_seed(0)
    fields = torch.randn(4, 20, 30, generator=generator)
    size = torch.tensor((29.0, 19.0))
    start, end = torch.rand(2, 3, 2, generator=generator) * size, torch.rand(2, 5, 2, generator=generator) * size

    mean, share = paf.limb_scores(fields, start, end, samples=7)

    for limb, first, second in itertools.product(range(2), range(3), range(5)):
        (sx, sy), (ex, ey) = start[limb, first].tolist(), end[limb, second].tolist()
        length = math.hypot(ex - sx, ey - sy)
        unit = torch.tensor((ex - sx, ey - sy)) / length
        cells = [(round(sy + (ey - sy) * step / 6), round(sx + (ex - sx) * step / 6)) for step in range(7)]
        along = torch.stack([fields[2 * limb : 2 * limb + 2, row, column] @ unit for row, column in cells])
        assert mean[limb, first, second] == pytest.approx(float(along.mean()), abs=1e-5)
        assert share[limb, first, second] == pytest.approx(float((along > 0.05).float().mean()), abs=1e-5)


def crossing_people():
    """Two people whose arms cross; generic skeleton of four keypoints in a row."""
    return torch.tensor([[[10.0, 10.0], [20.0, 20.0], [30.0, 30.0], [40.0, 32.0]],
                         [[10.0, 30.0], [20.0, 22.0], [30.0, 10.0], [40.0, 8.0]]])  # fmt: skip


def people_in(heatmaps, fields, edges):
    peaks, scores = paf.find_peaks(heatmaps, min_score=0.1)
    return paf.group_people(peaks, scores, paf.find_limbs(peaks, scores, fields, edges=edges), edges=edges)


def test_a_batch_of_pictures_gives_what_each_of_them_gives():
    generator = torch.Generator().manual_seed(3)
    heatmaps, fields = torch.rand(2, 17, 30, 40, generator=generator), torch.randn(2, 38, 30, 40, generator=generator)
    heatmaps[1] *= 0.8

    peaks, scores = paf.find_peaks(heatmaps, min_score=0.5, max_peaks=10)
    limbs = paf.find_limbs(peaks, scores, fields + 0.5, edges=EDGES)

    assert limbs.shape == (2, 19, 10, 10)
    for index in range(2):
        own_peaks, own_scores = paf.find_peaks(heatmaps[index], min_score=0.5, max_peaks=10)
        own_limbs = paf.find_limbs(own_peaks, own_scores, fields[index] + 0.5, edges=EDGES)
        torch.testing.assert_close((peaks[index], scores[index], limbs[index]), (own_peaks, own_scores, own_limbs))


def test_grouping_finds_the_drawn_people_though_they_cross():
    people, edges = crossing_people(), ((0, 1), (1, 2), (2, 3))
    heatmaps = CELLS.encode(people, heatmap_hw=(40, 50)).amax(dim=0)
    fields = paf.encode(people[None], torch.ones(1, 2, 4, dtype=torch.bool), edges=edges, map_hw=(40, 50))[0]

    keypoints, scores = people_in(heatmaps, fields, edges)

    assert (scores > 0.8).all()
    order = keypoints[:, 0, 1].argsort()
    torch.testing.assert_close(keypoints[order], people, rtol=0, atol=0.25)


def test_missing_keypoint_splits_nobody_when_another_way_connects():
    person = torch.tensor([[[10.0, 10.0], [20.0, 10.0], [10.0, 20.0], [20.0, 20.0]]])
    edges = ((0, 1), (0, 2), (1, 3), (2, 3))
    valid = torch.tensor([[True, False, True, True]])
    heatmaps = CELLS.encode(person, heatmap_hw=(40, 50))[0] * valid[0, :, None, None]
    fields = paf.encode(person[None], valid[None], edges=edges, map_hw=(40, 50))[0]

    keypoints, scores = people_in(heatmaps, fields, edges)

    assert len(keypoints) == 1
    assert (scores[0] > 0).tolist() == valid[0].tolist()


def test_no_person_gets_a_keypoint_twice_and_no_peak_two_people():
    generator = torch.Generator().manual_seed(3)
    heatmaps, fields = torch.rand(17, 40, 40, generator=generator), torch.randn(38, 40, 40, generator=generator)
    peaks, peak_scores = paf.find_peaks(heatmaps, min_score=0.5, max_peaks=10)

    limbs = paf.find_limbs(peaks, peak_scores, fields + 0.5, edges=EDGES)
    keypoints, scores = paf.group_people(peaks, peak_scores, limbs, edges=EDGES)

    assert len(keypoints) > 1
    for index in range(17):
        used = keypoints[scores[:, index] > 0, index].tolist()
        assert len({tuple(point) for point in used}) == len(used)


def test_unconnected_peaks_are_nobody():
    heatmaps = CELLS.encode(crossing_people(), heatmap_hw=(40, 50)).amax(dim=0)

    keypoints, scores = people_in(heatmaps, torch.zeros(6, 40, 50), ((0, 1), (1, 2), (2, 3)))

    assert keypoints.shape == (0, 4, 2)
    assert scores.shape == (0, 4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_agrees_with_cpu():
    keypoints, valid = torch.rand(2, 5, 17, 2) * 40, torch.rand(2, 5, 17) > 0.3

    actual = paf.encode(keypoints.cuda(), valid.cuda(), edges=EDGES, map_hw=(40, 40)).cpu()

    expected = paf.encode(keypoints, valid, edges=EDGES, map_hw=(40, 40))
    # rounding may move a cell over the limb's border
    assert ((actual - expected).abs() > 1e-4).float().mean() < 1e-4
