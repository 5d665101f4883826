"""Where between the cells a heatmap has its top: one function a method, batched, on any device.

Each takes (..., h, w) finite maps and the (...) int64 index of each map's highest cell, counted along the rows. It
returns the (..., 2) float x y by which the top lies off that cell's centre, in cells. What cannot be told is 0: along
an axis that lacks a neighbour, and where the map does not bend down.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from posecli.geometry.constants import constant

Method = Callable[[Tensor, Tensor], Tensor]

_FLAT = 1e-6  # a curvature below is none
_SMALLEST = 1e-10  # before a logarithm; the value of DARK's own code
_SMALLEST_UDP = 1e-3  # that of UDP's


def none(maps: Tensor, peak: Tensor) -> Tensor:
    """Stay on the cell."""
    return maps.new_zeros((*peak.shape, 2))


def quarter(maps: Tensor, peak: Tensor) -> Tensor:
    """Go a quarter of a cell towards the higher neighbour, along each axis.

    HRNet leaves the two first columns and rows and the last ones unrefined (`1 < px < width - 1`); its weights expect
    that. Source: HRNet `lib/core/inference.py`, `get_final_preds`.
    """
    height, width = maps.shape[-2:]
    x, y = peak % width, peak // width
    inside = (x > 1) & (x < width - 1) & (y > 1) & (y < height - 1)
    return 0.25 * _differences(_window(maps, peak, reach=1)).sign() * inside[..., None]


def second_peak(maps: Tensor, peak: Tensor) -> Tensor:
    """Go a quarter of a cell towards the second highest cell, wherever it is.

    Source: CPN section 4 ("a quarter offset in the direction from the highest response to the second highest
    response"); tf-cpn and MSPN do it after their Gaussian filter.
    """
    width = maps.shape[-1]
    flat = maps.flatten(-2)
    others = flat.scatter(-1, peak[..., None], -torch.inf)
    second = others.argmax(dim=-1)
    way = torch.stack((second % width - peak % width, second // width - peak // width), dim=-1).to(maps.dtype)
    bends = flat.amax(dim=-1) > flat.amin(dim=-1)
    return 0.25 * way / way.norm(dim=-1, keepdim=True).clamp(min=1) * bends[..., None]


def parabola(maps: Tensor, peak: Tensor) -> Tensor:
    """Go to the top of the parabola through the cell and its two neighbours, along each axis.

    Source: CCM Eq. (10).
    """
    return _parabola_top(_window(maps, peak, reach=1), _has_neighbours(maps, peak, reach=1))


def log_parabola(maps: Tensor, peak: Tensor) -> Tensor:
    """Do as `parabola` on the logarithm of the map, which makes it exact for a Gaussian.

    Source: CCM Eq. (10), with the logarithm of DARK (Zhang et al., CVPR 2020).
    """
    around = _window(maps, peak, reach=1).clamp(min=_FLAT).log()
    return _parabola_top(around, _has_neighbours(maps, peak, reach=1))


def paraboloid(maps: Tensor, peak: Tensor) -> Tensor:
    """Go to the top of the paraboloid fitted to the cell and its eight neighbours.

    The equations are the least squares fit that weighs the cells 1 2 1, 2 4 2, 1 2 1. A cell on the border takes the
    parabola along it instead. Source: CCM Eq. (14) to (19).
    """
    around = _window(maps, peak, reach=1)
    inside = _has_neighbours(maps, peak, reach=1)
    across = constant((1.0, 2.0, 1.0), like=around)
    bend_x = (around[..., 0] + around[..., 2] - 2 * around[..., 1]) @ across / 8  # a
    bend_y = (around[..., 0, :] + around[..., 2, :] - 2 * around[..., 1, :]) @ across / 8  # b
    twist = (around[..., 0, 0] + around[..., 2, 2] - around[..., 0, 2] - around[..., 2, 0]) / 4  # c
    slope_x = (around[..., 2] - around[..., 0]) @ across / 8  # d
    slope_y = (around[..., 2, :] - around[..., 0, :]) @ across / 8  # e
    determinant = 4 * bend_x * bend_y - twist.square()
    has_top = (bend_x < 0) & (determinant > _FLAT * _FLAT)
    top = torch.stack((twist * slope_y - 2 * bend_y * slope_x, twist * slope_x - 2 * bend_x * slope_y), dim=-1)
    top = (top / torch.where(has_top, determinant, 1)[..., None]).clamp(-1, 1)
    fitted = (has_top & inside.all(dim=-1))[..., None]
    return torch.where(fitted, top, _parabola_top(around, inside))


def dark(maps: Tensor, peak: Tensor) -> Tensor:
    """Go where the second-order Taylor expansion of the logarithm has its top; needs two cells on every side.

    The top is sought in the cells that the derivatives read, not beyond. Source: Zhang et al., "Distribution-Aware
    Coordinate Representation for Human Pose Estimation", CVPR 2020, and its code's `taylor`.
    """
    around = _window(maps, peak, reach=2).clamp(min=_SMALLEST).log()
    bend_x = (around[..., 2, 4] + around[..., 2, 0] - 2 * around[..., 2, 2]) / 4
    bend_y = (around[..., 4, 2] + around[..., 0, 2] - 2 * around[..., 2, 2]) / 4
    twist = (around[..., 3, 3] + around[..., 1, 1] - around[..., 1, 3] - around[..., 3, 1]) / 4
    inside = _has_neighbours(maps, peak, reach=2).all(dim=-1, keepdim=True)
    return _taylor_top(_differences(around) / 2, bend_x, bend_y, twist) * inside


def dark_udp(maps: Tensor, peak: Tensor) -> Tensor:
    """Do as `dark` with the derivatives of the nearest cells; beyond the border its cells are repeated.

    Source: Huang et al., "The Devil is in the Details", CVPR 2020, whose code mmpose and rtmlib took over for networks
    trained with UDP, ViTPose among them. Where the map does not bend down, theirs moves all the same.
    """
    around = _window(maps, peak, reach=1).clamp(min=_SMALLEST_UDP).log()
    middle = 2 * around[..., 1, 1]
    bend_x = around[..., 1, 2] + around[..., 1, 0] - middle
    bend_y = around[..., 2, 1] + around[..., 0, 1] - middle
    diagonal = around[..., 2, 2] + around[..., 0, 0] - middle  # what bends along one diagonal, and along no axis
    return _taylor_top(_differences(around) / 2, bend_x, bend_y, (diagonal - bend_x - bend_y) / 2)


def soft_argmax(maps: Tensor, peak: Tensor) -> Tensor:
    """Go to the centre of mass of the whole map; values below 0 weigh nothing.

    Source: PoseFix (Moon et al., CVPR 2019) section 4.2, where the map is a softmax.
    """
    height, width = maps.shape[-2:]
    mass = maps.clamp(min=0)
    columns, rows = mass.sum(dim=-2), mass.sum(dim=-1)
    x = columns @ torch.arange(width, device=maps.device, dtype=maps.dtype)
    y = rows @ torch.arange(height, device=maps.device, dtype=maps.dtype)
    total = rows.sum(dim=-1)
    centre = torch.stack((x, y), dim=-1) / torch.where(total > 0, total, 1)[..., None]
    cell = torch.stack((peak % width, peak // width), dim=-1)
    return torch.where((total > 0)[..., None], centre - cell, 0.0)


METHODS: dict[str, Method] = {
    method.__name__: method
    for method in (none, quarter, second_peak, parabola, log_parabola, paraboloid, dark, dark_udp, soft_argmax)
}


def _window(maps: Tensor, peak: Tensor, *, reach: int) -> Tensor:
    """Return the (..., 2 reach + 1, 2 reach + 1) cells around each peak; beyond the border its cells are repeated."""
    height, width = maps.shape[-2:]
    span = torch.arange(-reach, reach + 1, device=peak.device)
    columns = ((peak % width)[..., None] + span).clamp(0, width - 1)
    rows = ((peak // width)[..., None] + span).clamp(0, height - 1)
    index = rows[..., :, None] * width + columns[..., None, :]
    return maps.flatten(-2).gather(-1, index.flatten(-2)).view(index.shape)


def _has_neighbours(maps: Tensor, peak: Tensor, *, reach: int) -> Tensor:
    """Return (..., 2) bool: whether there are `reach` cells on both sides along x and along y."""
    height, width = maps.shape[-2:]
    x, y = peak % width, peak // width
    along_x = (x >= reach) & (x < width - reach)
    return torch.stack((along_x, (y >= reach) & (y < height - reach)), dim=-1)


def _differences(around: Tensor) -> Tensor:
    """Return (..., 2): right minus left and lower minus upper neighbour of a window's middle."""
    middle = around.shape[-1] // 2
    horizontal = around[..., middle, middle + 1] - around[..., middle, middle - 1]
    return torch.stack((horizontal, around[..., middle + 1, middle] - around[..., middle - 1, middle]), dim=-1)


def _taylor_top(slopes: Tensor, bend_x: Tensor, bend_y: Tensor, twist: Tensor) -> Tensor:
    """Return (..., 2) in [-2, 2]: where the second-order expansion of these derivatives has its top, 0 without one."""
    slope_x, slope_y = slopes.unbind(-1)
    determinant = bend_x * bend_y - twist.square()
    has_top = (bend_x < 0) & (determinant > _FLAT * _FLAT)
    top = torch.stack((twist * slope_y - bend_y * slope_x, twist * slope_x - bend_x * slope_y), dim=-1)
    top = (top / torch.where(has_top, determinant, 1)[..., None]).clamp(-2, 2)
    return torch.where(has_top[..., None], top, 0.0)


def _parabola_top(around: Tensor, inside: Tensor) -> Tensor:
    """Return (..., 2) in [-.5, .5] for (..., 3, 3) windows; 0 along axes that are not (..., 2) `inside`."""
    outer = torch.stack((around[..., 1, 0] + around[..., 1, 2], around[..., 0, 1] + around[..., 2, 1]), dim=-1)
    curvature = 2 * around[..., 1, 1, None] - outer
    has_top = inside & (curvature > _FLAT)
    top = 0.5 * _differences(around) / torch.where(has_top, curvature, 1)
    return torch.where(has_top, top.clamp(-0.5, 0.5), 0.0)
