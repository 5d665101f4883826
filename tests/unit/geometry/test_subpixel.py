"""Each method against a slow one written from the paper, one map at a time; then what all must hold to."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from posecli.geometry.heatmaps import HeatmapCodec
from posecli.geometry.subpixel import METHODS

HEIGHT, WIDTH = 12, 9


def slow_none(grid, x, y):
    return 0.0, 0.0


def slow_quarter(grid, x, y):
    height, width = grid.shape
    if not (1 < x < width - 1 and 1 < y < height - 1):
        return 0.0, 0.0
    return (
        0.25 * math.copysign(grid[y, x + 1] != grid[y, x - 1], grid[y, x + 1] - grid[y, x - 1]),
        0.25 * math.copysign(grid[y + 1, x] != grid[y - 1, x], grid[y + 1, x] - grid[y - 1, x]),
    )


def slow_second_peak(grid, x, y):
    others = grid.copy()
    others[y, x] = -np.inf
    second_y, second_x = np.unravel_index(others.argmax(), grid.shape)
    length = math.hypot(second_x - x, second_y - y)
    return 0.25 * (second_x - x) / length, 0.25 * (second_y - y) / length


def slow_parabola(grid, x, y):
    def top(values, index):
        if index in {0, len(values) - 1}:
            return 0.0
        a, b, _ = np.polyfit([-1, 0, 1], values[index - 1 : index + 2], 2)
        return -b / (2 * a)

    return top(grid[y], x), top(grid[:, x], y)


def slow_log_parabola(grid, x, y):
    return slow_parabola(np.log(np.maximum(grid, 1e-6)), x, y)


def slow_paraboloid(grid, x, y):
    height, width = grid.shape
    if not (0 < x < width - 1 and 0 < y < height - 1):
        return slow_parabola(grid, x, y)
    rows, values = [], []
    for step_y in (-1, 0, 1):
        for step_x in (-1, 0, 1):
            weight = math.sqrt((2 - abs(step_x)) * (2 - abs(step_y)))
            row = [step_x**2, step_y**2, step_x * step_y, step_x, step_y, 1]
            rows.append([weight * part for part in row])
            values.append(weight * grid[y + step_y, x + step_x])
    a, b, c, d, e, _ = np.linalg.lstsq(np.array(rows), np.array(values), rcond=None)[0]
    return tuple(np.clip(np.linalg.solve([[2 * a, c], [c, 2 * b]], [-d, -e]), -1, 1))


def slow_dark(grid, x, y):
    height, width = grid.shape
    if not (1 < x < width - 2 and 1 < y < height - 2):
        return 0.0, 0.0
    z = np.log(np.maximum(grid, 1e-10))
    gradient = np.array([z[y, x + 1] - z[y, x - 1], z[y + 1, x] - z[y - 1, x]]) / 2
    mixed = (z[y + 1, x + 1] - z[y - 1, x + 1] - z[y + 1, x - 1] + z[y - 1, x - 1]) / 4
    across, down = z[y, x + 2] - 2 * z[y, x] + z[y, x - 2], z[y + 2, x] - 2 * z[y, x] + z[y - 2, x]
    hessian = np.array([[across / 4, mixed], [mixed, down / 4]])
    if np.linalg.eigvalsh(hessian).max() >= 0:
        return 0.0, 0.0
    return tuple(np.clip(-np.linalg.inv(hessian) @ gradient, -2, 2))


def slow_dark_udp(grid, x, y):
    z = np.pad(np.log(np.maximum(grid, 1e-3)), 1, mode="edge")
    x, y = x + 1, y + 1
    gradient = np.array([z[y, x + 1] - z[y, x - 1], z[y + 1, x] - z[y - 1, x]]) / 2
    across, down = z[y, x + 1] - 2 * z[y, x] + z[y, x - 1], z[y + 1, x] - 2 * z[y, x] + z[y - 1, x]
    sides = z[y, x + 1] + z[y, x - 1] + z[y + 1, x] + z[y - 1, x]
    mixed = (z[y + 1, x + 1] - sides + 2 * z[y, x] + z[y - 1, x - 1]) / 2
    hessian = np.array([[across, mixed], [mixed, down]])
    if np.linalg.eigvalsh(hessian).max() >= -1e-9:
        return 0.0, 0.0
    return tuple(np.clip(-np.linalg.inv(hessian) @ gradient, -2, 2))


def slow_soft_argmax(grid, x, y):
    mass = sum(max(value, 0) for value in grid.flat)
    points = [(column, row) for row in range(grid.shape[0]) for column in range(grid.shape[1])]
    weights = [max(grid[row, column], 0) / mass for column, row in points]
    return (
        sum(weight * column for weight, (column, _) in zip(weights, points, strict=True)) - x,
        sum(weight * row for weight, (_, row) in zip(weights, points, strict=True)) - y,
    )


def slow(name):
    return globals()[f"slow_{name}"]


def bumpy_maps(count=300):
    """Gaussians anywhere, borders too, with enough noise that tops are no Gaussian's."""
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(1, count, 2, generator=generator, dtype=torch.float64) * torch.tensor([WIDTH - 1, HEIGHT - 1])
    codec = HeatmapCodec(stride=1, heatmap_sigma=1.5)
    maps = codec.encode(points, heatmap_hw=(HEIGHT, WIDTH))[0]
    return maps + 0.1 * torch.randn(maps.shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", METHODS)
def test_method_agrees_with_its_slow_reference(name):
    maps = bumpy_maps()
    peak = maps.flatten(-2).argmax(-1)

    offsets = METHODS[name](maps, peak)

    cells = [divmod(index, WIDTH) for index in peak.tolist()]
    expected = [slow(name)(grid.numpy(), x, y) for grid, (y, x) in zip(maps, cells, strict=True)]
    assert {0, WIDTH - 1} <= {x for _, x in cells}  # the borders are among them
    torch.testing.assert_close(offsets, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", METHODS)
def test_method_answers_in_single_precision_too(name):
    maps = bumpy_maps()
    peak = maps.flatten(-2).argmax(-1)

    torch.testing.assert_close(
        METHODS[name](maps.float(), peak).double(), METHODS[name](maps, peak), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("size_hw", [(1, 1), (1, 5), (2, 2), (HEIGHT, WIDTH)])
@pytest.mark.parametrize("value", [0.0, 1.0, -1.0])
def test_flat_map_is_not_refined(name, size_hw, value):
    maps = torch.full((2, 17, *size_hw), value)
    peak = torch.zeros(2, 17, dtype=torch.int64)

    offsets = METHODS[name](maps, peak)

    assert offsets.shape == (2, 17, 2)
    middle = torch.tensor([(size_hw[1] - 1) / 2, (size_hw[0] - 1) / 2])  # of a flat map's mass
    expected = middle if name == "soft_argmax" and value > 0 else torch.zeros(2)
    torch.testing.assert_close(offsets, expected.expand(2, 17, 2))


# In cells, for a Gaussian of 2 cells. Quarters stop at the nearest of two places; the second peak leaves the other axis
# alone; the parabolas take the Gaussian for one.
ERRORS = {
    "none": 0.5, "quarter": 0.2501, "second_peak": 0.5, "parabola": 0.03, "log_parabola": 1e-4, "paraboloid": 0.04,
    "dark": 1e-4, "dark_udp": 1e-4, "soft_argmax": 1e-3,
}  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("stride", [2, 4, 8])
def test_decode_undoes_encode_within_the_methods_error(name, stride):
    codec = HeatmapCodec(stride=stride, subpixel=name)
    corner = torch.tensor([48.0, 64.0])
    points = 8 + torch.rand(1, 500, 2, generator=torch.Generator().manual_seed(1)) * (corner - 16)
    points = codec.to_pixels(points, heatmap_hw=(64, 48))

    decoded, scores = codec.decode(codec.encode(points, heatmap_hw=(64, 48)))

    torch.testing.assert_close(decoded, points, rtol=0, atol=ERRORS[name] * stride)
    assert (scores > 0.9).all()


@pytest.mark.parametrize("name", METHODS)
def test_a_map_moved_by_whole_cells_moves_the_point_as_far(name):
    codec = HeatmapCodec(stride=4, subpixel=name, blur=5)
    maps = torch.zeros(1, 40, 40, 40, dtype=torch.float64)
    noise = torch.rand(40, 5, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    maps[0, :, 12:17, 12:17] = noise

    here, scores = codec.decode(maps)
    there, scores_there = codec.decode(maps.roll((9, 4), dims=(-2, -1)))

    torch.testing.assert_close(there, here + torch.tensor([16.0, 36.0]), rtol=0, atol=1e-3)
    torch.testing.assert_close(scores_there, scores)


@pytest.mark.parametrize("name", METHODS)
def test_broken_cells_do_not_reach_the_point(name):
    codec = HeatmapCodec(stride=1, subpixel=name, blur=3)
    maps = codec.encode(torch.full((1, 17, 2), 6.2), heatmap_hw=(16, 12))
    maps[..., 0, 0], maps[..., 15, 11], maps[..., 15, 0] = float("nan"), float("inf"), -float("inf")

    points, scores = codec.decode(maps)

    assert float((points - 6.2).abs().max()) < 0.5
    assert ((scores > 0.8) & (scores <= 1)).all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", METHODS)
def test_cuda_says_the_same(name):
    maps = bumpy_maps()
    peak = maps.flatten(-2).argmax(-1)

    actual = METHODS[name](maps.to("cuda"), peak.to("cuda")).cpu()

    torch.testing.assert_close(actual, METHODS[name](maps, peak), rtol=0, atol=1e-6)
