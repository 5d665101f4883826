"""RoIAlign and box regression against loops that follow the papers' words."""

from __future__ import annotations

import math

import pytest
import torch

from posecli.geometry.roi import anchors, roi_align, shift_boxes, shifts_between


def sample(plane, y, x):
    """Read a 2-D list at a point, as bilinear interpolation with a border of one does."""
    height, width = len(plane), len(plane[0])
    if y < -1 or y > height or x < -1 or x > width:
        return 0.0
    y, x = max(y, 0.0), max(x, 0.0)
    total = 0.0
    for row in range(height):
        for column in range(width):
            # the last row and column reach to the end
            down = 1.0 if row == height - 1 and y >= row else max(0.0, 1 - abs(y - row))
            across = 1.0 if column == width - 1 and x >= column else max(0.0, 1 - abs(x - column))
            total += down * across * plane[row][column]
    return total


def slow_roi_align(plane, box, *, size, scale, samples=2):
    left, top, right, bottom = (side * scale for side in box)
    width, height = max(right - left, 1.0), max(bottom - top, 1.0)
    cells = []
    for row in range(size):
        cells.append([])
        for column in range(size):
            total = 0.0
            for down in range(samples):
                for across in range(samples):
                    y = top + (row + (down + 0.5) / samples) * height / size
                    x = left + (column + (across + 0.5) / samples) * width / size
                    total += sample(plane, y, x)
            cells[-1].append(total / samples**2)
    return cells


BOXES = torch.tensor(
    [
        (3.0, 5.0, 25.0, 30.0),
        (0.0, 0.0, 40.0, 32.0),  # the whole picture
        (-30.0, -9.0, 12.0, 70.0),  # far over three edges
        (38.5, 30.5, 39.0, 31.0),  # smaller than a feature, at the last one
        (36.0, 28.0, 44.0, 36.0),  # around the last feature, on both sides of where zeros begin
        (90.0, 90.0, 99.0, 99.0),  # not on the picture
        (7.0, 9.0, 7.0, 9.0),  # without size
    ],
    dtype=torch.float64,
)


def first(boxes):
    return torch.zeros(len(boxes), dtype=torch.int64)


@pytest.mark.parametrize("size", [7, 3])
def test_roi_align_agrees_with_a_slow_loop(size):
    levels = [torch.rand(2, 3, height, width, dtype=torch.float64) for height, width in ((8, 10), (4, 5))]
    boxes = BOXES.repeat(2, 1)
    pictures = torch.tensor([0, 1, 1, 0, 0, 1, 1] * 2)
    level = torch.tensor([0] * 7 + [1] * 7)

    pooled = roi_align(levels, boxes, pictures=pictures, level=level, first_stride=4, size=size)

    expected = [
        [slow_roi_align(plane, box, size=size, scale=1 / (4 << which)) for plane in levels[which][picture].tolist()]
        for box, picture, which in zip(boxes.tolist(), pictures.tolist(), level.tolist(), strict=True)
    ]
    torch.testing.assert_close(pooled, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


def test_features_of_one_row_can_be_pooled():
    boxes = BOXES[:1].float()

    pooled = roi_align(
        [torch.full((1, 2, 1, 1), 3.0)], boxes, pictures=first(boxes), level=first(boxes), first_stride=64, size=2
    )

    torch.testing.assert_close(pooled, torch.full((1, 2, 2, 2), 3.0))


def test_no_boxes_pool_nothing():
    none = torch.zeros(0, 4)

    pooled = roi_align([torch.rand(1, 2, 4, 4)], none, pictures=first(none), level=first(none), first_stride=4)

    assert pooled.shape == (0, 2, 7, 7)


def test_pooling_passes_gradients_to_the_features():
    features = torch.rand(1, 1, 8, 10, dtype=torch.float64, requires_grad=True)
    boxes = BOXES[:3]

    assert torch.autograd.gradcheck(
        lambda table: roi_align([table], boxes, pictures=first(boxes), level=first(boxes), first_stride=4, size=2),
        (features,),
    )


def test_anchors_stand_around_each_cells_point_in_row_order():
    found = anchors((2, 3), stride=16, sizes=(32.0, 64.0), ratios=(1.0, 4.0))

    assert found.shape == (2 * 3 * 4, 4)
    # at (0, 0): square of 32, of 64, then 16 wide and 64 high, 32 wide and 128 high
    assert found[:4].tolist() == [[-16, -16, 16, 16], [-32, -32, 32, 32], [-8, -32, 8, 32], [-16, -64, 16, 64]]
    assert found[4].tolist() == [0, -16, 32, 16]  # next column
    assert found[12].tolist() == [-16, 0, 16, 32]  # next row


def test_anchors_have_whole_pixels():
    # 32 x 32 at height / width 1/2: 45.25 x 22.63, so 22.6 and 11.3 to either side
    assert anchors((1, 1), stride=4, sizes=(32.0,), ratios=(0.5,)).tolist() == [[-23, -11, 23, 11]]


def test_shifts_move_by_sizes_and_grow_by_logs():
    box = torch.tensor([[10.0, 20.0, 30.0, 60.0]])  # 20 x 40 around (20, 40)

    moved = shift_boxes(box, torch.tensor([[1.0, -0.5, math.log(2) * 5, 0.0]]), weights=(10.0, 5.0))

    torch.testing.assert_close(moved, torch.tensor([[2.0, 18.0, 42.0, 58.0]]))


@pytest.mark.parametrize("weights", [(1.0, 1.0), (10.0, 5.0)])
def test_shift_undoes_shifts_between(weights):
    first, second = torch.rand(2, 30, 4, dtype=torch.float64) * 50
    first, second = (torch.cat((boxes[:, :2], boxes[:, :2] + boxes[:, 2:] + 1), dim=1) for boxes in (first, second))

    actual = shift_boxes(first, shifts_between(first, second, weights=weights), weights=weights)

    torch.testing.assert_close(actual, second, rtol=0, atol=1e-9)


def test_a_wild_shift_stays_finite():
    moved = shift_boxes(torch.tensor([[0.0, 0.0, 16.0, 16.0]]), torch.full((1, 4), 1e4))

    assert moved.isfinite().all()
    torch.testing.assert_close(moved[0, 2:] - moved[0, :2], torch.tensor([1000.0, 1000.0]), rtol=1e-3, atol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_pools_the_same():
    features, boxes = torch.rand(1, 3, 8, 10, dtype=torch.float64), BOXES
    where = {"pictures": first(boxes), "level": first(boxes)}

    there = {name: index.cuda() for name, index in where.items()}
    pooled = roi_align([features.cuda()], boxes.cuda(), **there, first_stride=4)

    torch.testing.assert_close(pooled.cpu(), roi_align([features], boxes, **where, first_stride=4), rtol=0, atol=1e-12)
