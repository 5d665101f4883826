import math

import pytest
import torch

from posecli.geometry import boxes


def random_boxes(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 60
    return torch.cat((corner, corner + 1 + torch.rand(count, 2, generator=generator, dtype=torch.float64) * 60), dim=1)


def slow_iou(one, other):
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    both = width * height
    return both / ((one[2] - one[0]) * (one[3] - one[1]) + (other[2] - other[0]) * (other[3] - other[1]) - both)


def test_xywh_undoes_xyxy():
    expected = random_boxes(20)

    torch.testing.assert_close(boxes.xywh_to_xyxy(boxes.xyxy_to_xywh(expected)), expected, rtol=0, atol=1e-12)


def test_iou_agrees_with_a_slow_loop():
    one, other = random_boxes(12), random_boxes(9, seed=1)

    expected = torch.tensor([[slow_iou(a, b) for b in other.tolist()] for a in one.tolist()], dtype=torch.float64)

    torch.testing.assert_close(boxes.pairwise_iou(one, other), expected, rtol=0, atol=1e-12)


def test_inverted_and_empty_boxes_have_no_area():
    assert boxes.area(torch.tensor([[5.0, 5.0, 3.0, 9.0], [2.0, 2.0, 2.0, 2.0]])).tolist() == [0, 0]


def test_generalized_iou_is_iou_inside_the_hull_and_negative_far_away():
    one = torch.tensor([[0.0, 0.0, 10.0, 10.0]]).expand(3, 4)
    other = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 5.0], [90.0, 0.0, 100.0, 10.0]])

    torch.testing.assert_close(boxes.generalized_iou(one, other), torch.tensor([1.0, 0.5, -0.8]))


@pytest.mark.parametrize("max_iou", [0.0, 0.3, 0.6, 1.0])
def test_hard_nms_agrees_with_a_slow_loop(max_iou):
    some = random_boxes(50)
    scores = torch.rand(50, generator=torch.Generator().manual_seed(2))
    left, expected = sorted(range(50), key=lambda index: -scores[index]), []
    while left:
        best = left.pop(0)
        expected.append(best)
        left = [index for index in left if slow_iou(some[best].tolist(), some[index].tolist()) <= max_iou]

    assert boxes.hard_nms(some, scores, max_iou=max_iou).tolist() == expected


def test_hard_nms_of_nothing_is_nothing():
    kept = boxes.hard_nms(torch.zeros(0, 4), torch.zeros(0), max_iou=0.5)

    assert kept.shape == (0,)
    assert kept.dtype == torch.int64


def test_fit_aspect_contains_the_box_and_has_the_aspect():
    some = random_boxes(30)

    grown = boxes.fit_aspect(some, aspect=0.75, margin=(1.25, 1.25))

    size_wh = grown[:, 2:] - grown[:, :2]
    torch.testing.assert_close(size_wh[:, 0] / size_wh[:, 1], torch.full((30,), 0.75, dtype=torch.float64))
    torch.testing.assert_close(grown[:, :2] + grown[:, 2:], some[:, :2] + some[:, 2:])
    tight = size_wh / 1.25 / (some[:, 2:] - some[:, :2])
    torch.testing.assert_close(tight.amin(dim=1), torch.ones(30, dtype=torch.float64))


def test_fit_aspect_grows_each_side_by_its_own_factor_before_fitting():
    wide, tall = torch.tensor([100.0, 100.0, 180.0, 160.0]), torch.tensor([100.0, 100.0, 130.0, 160.0])

    grown = boxes.fit_aspect(torch.stack((wide, tall)), aspect=0.75, margin=(1.2, 1.3))

    size_wh = grown[:, 2:] - grown[:, :2]
    torch.testing.assert_close(size_wh, torch.tensor([[96.0, 128.0], [58.5, 78.0]]))


def test_clip_ends_at_the_image():
    clipped = boxes.clip(torch.tensor([[-5.0, 3.0, 90.0, 99.0]]), width=64, height=48)

    assert clipped.tolist() == [[0, 3, 64, 48]]


def test_around_points_looks_at_valid_points_only():
    points = torch.tensor([[[1.0, 9.0], [4.0, 2.0], [-99.0, 999.0]], [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]])
    valid = torch.tensor([[True, True, False], [False, False, False]])

    assert boxes.around_points(points, valid).tolist() == [[1, 2, 4, 9], [0, 0, 0, 0]]


@pytest.mark.parametrize("count", [1, 7, 300])
def test_hard_nms_settles_long_chains(count):
    # each box overlaps only its neighbours, so that whether one stays hangs on all before it
    left = torch.arange(count, dtype=torch.float64) * 5
    chain = torch.stack((left, torch.zeros_like(left), left + 10, torch.ones_like(left)), dim=1)

    kept = boxes.hard_nms(chain, -left, max_iou=0.3)

    assert kept.tolist() == list(range(0, count, 2))


def test_grouped_nms_is_hard_nms_of_each_group():
    some, groups = random_boxes(60), torch.arange(60) % 4
    scores = torch.rand(60, generator=torch.Generator().manual_seed(3))

    kept = boxes.grouped_nms(some, scores, groups, max_iou=0.3)

    for group in range(4):
        own = (groups == group).nonzero().squeeze(1)
        expected = own[boxes.hard_nms(some[own], scores[own], max_iou=0.3)]
        assert kept[groups[kept] == group].tolist() == expected.tolist()
    assert scores[kept].tolist() == sorted(scores[kept].tolist(), reverse=True)
    assert boxes.grouped_nms(some[:0], scores[:0], groups[:0], max_iou=0.3).shape == (0,)


def slow_soft_nms(some, scores, decay):
    """Bodla et al., Figure 2, as printed."""
    left, final = dict(enumerate(scores)), {}
    while left:
        best = max(left, key=left.get)
        final[best] = left.pop(best)
        left = {index: score * decay(slow_iou(some[best], some[index])) for index, score in left.items()}
    return [final[index] for index in range(len(scores))]


@pytest.mark.parametrize(
    ("kind", "decay"),
    [
        ("soft_linear", lambda iou: 1 - iou if iou > 0.3 else 1),
        ("soft_gaussian", lambda iou: math.exp(-(iou**2) / 0.4)),
    ],
)
def test_soft_nms_agrees_with_a_slow_loop(kind, decay):
    batch = torch.stack([random_boxes(40, seed=seed) for seed in range(3)])
    scores = torch.rand(3, 40, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    expected = [slow_soft_nms(*row, decay) for row in zip(batch.tolist(), scores.tolist(), strict=True)]

    actual = boxes.soft_nms(batch, scores, kind=kind, max_iou=0.3, sigma=0.4)

    torch.testing.assert_close(actual, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)
    assert boxes.soft_nms(batch[:, :0], scores[:, :0], kind=kind).shape == (3, 0)


def test_an_unknown_soft_nms_is_a_bug():
    with pytest.raises(ValueError, match="softest"):
        boxes.soft_decay(torch.zeros(1), kind="softest", max_iou=0.5, sigma=0.5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_keeps_and_lowers_the_same_boxes():
    some, scores = random_boxes(200), torch.rand(200, generator=torch.Generator().manual_seed(5), dtype=torch.float64)

    kept = boxes.hard_nms(some.cuda(), scores.cuda(), max_iou=0.4)
    lowered = boxes.soft_nms(some.cuda(), scores.cuda(), kind="soft_gaussian")

    assert kept.tolist() == boxes.hard_nms(some, scores, max_iou=0.4).tolist()
    torch.testing.assert_close(lowered.cpu(), boxes.soft_nms(some, scores, kind="soft_gaussian"), rtol=0, atol=1e-12)
