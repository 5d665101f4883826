"""Pictures in few bytes, for machines that have torch and numpy and nothing that reads JPEG.

The way of JPEG up to the last step: blocks of 8 x 8, cosine transform, rounding by frequency. Then the coefficients of
one frequency lie side by side over all pictures, and LZMA finds the zeros. Decoding is two matrix products, on any
device.

Source: ITU-T T.81, the transform of Annex A.3.3 and the example tables K.1 and K.2; "quality" scales as in libjpeg.
"""

from __future__ import annotations

import lzma
import math
import struct

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, pad

_HEADER = struct.Struct("<4sIIII")  # magic, pictures, height, width, quality
_MAGIC = b"pxdc"
_BLOCK = 8
_GRID = 2 * _BLOCK  # colours are stored at half the size
_MOST_BYTES = 1 << 32  # of one decoded batch: a damaged file must not take all memory

_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99, 99, 99, 99, 99, 99, 99, 99),) * 4,
)
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def compress(images: Tensor, *, quality: int) -> bytes:
    """Return (N, 3, H, W) uint8 RGB pictures in a few percent of their bytes.

    Args:
        images: on any device.
        quality: 1 to 100, as JPEG's; 75 looks untouched.

    Raises:
        ValueError: another shape, kind or quality.
    """
    if images.dim() != 4 or images.shape[1] != 3 or images.dtype != torch.uint8:
        raise ValueError(f"wanted (N, 3, H, W) uint8, got {tuple(images.shape)} {images.dtype}")
    if not 1 <= quality <= 100:
        raise ValueError(f"quality must be in [1, 100], got {quality}")
    count, _, height, width = images.shape
    whole = pad(images.float(), (0, -width % _GRID, 0, -height % _GRID), mode="replicate") if count else images.float()
    mix = whole.new_tensor(_TO_YCC)
    planes = torch.einsum("ij,njhw->nihw", mix, whole)
    streams = [
        _transform(planes[:, :1] - 128, _table(_LUMA, quality, whole.device)),
        _transform(avg_pool2d(planes[:, 1:], 2) if count else planes[:, 1:], _table(_CHROMA, quality, whole.device)),
    ]
    body = lzma.compress(b"".join(streams), format=lzma.FORMAT_XZ, preset=6)
    return _HEADER.pack(_MAGIC, count, height, width, quality) + body


def decompress(data: bytes, *, device: torch.device | None = None) -> Tensor:
    """Return the (N, 3, H, W) uint8 RGB pictures of `compress`, on a device.

    Raises:
        ValueError: the bytes are damaged, or promise more than 4 GiB.
    """
    if len(data) < _HEADER.size or data[:4] != _MAGIC:
        raise ValueError("no compressed pictures")
    _, count, height, width, quality = _HEADER.unpack_from(data)
    tall, wide = height + -height % _GRID, width + -width % _GRID
    luma, chroma = count * tall * wide, count * tall * wide // 2  # coefficients
    expected = _stored(luma) + _stored(chroma)
    if expected > _MOST_BYTES or not 1 <= quality <= 100:
        raise ValueError(f"{count} pictures of {width}x{height}, quality {quality}: damaged")
    try:
        body = lzma.LZMADecompressor(format=lzma.FORMAT_XZ).decompress(data[_HEADER.size :], max_length=expected + 1)
    except lzma.LZMAError as error:
        raise ValueError(f"damaged ({error})") from error
    if len(body) != expected:
        raise ValueError(f"damaged: {len(body)} bytes of coefficients, wanted {expected}")
    if not count:
        return torch.zeros(0, 3, height, width, dtype=torch.uint8, device=device)
    place = device or torch.device("cpu")
    y = _restore(body[: _stored(luma)], (count, 1, tall, wide), _table(_LUMA, quality, place)) + 128
    half = _restore(body[_stored(luma) :], (count, 2, tall // 2, wide // 2), _table(_CHROMA, quality, place))
    colours = interpolate(half, scale_factor=2.0, mode="bilinear")
    back = torch.linalg.inv(torch.tensor(_TO_YCC, dtype=torch.float64)).float().to(place)
    whole = torch.einsum("ij,njhw->nihw", back, torch.cat((y, colours), dim=1))
    return whole[..., :height, :width].round_().clamp_(0, 255).to(torch.uint8)


def _stored(coefficients: int) -> int:
    """Count the bytes of so many coefficients: the mean of a block takes two, the others one each."""
    return coefficients + coefficients // _BLOCK**2


def _table(rows: tuple[tuple[int, ...], ...], quality: int, device: torch.device) -> Tensor:
    """Return the (64,) rounding steps of a quality."""
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality
    return ((torch.tensor(rows, dtype=torch.float32, device=device).flatten() * scale + 50) / 100).floor().clamp(min=1)


def _cosines(device: torch.device) -> Tensor:
    """Return the orthonormal (8, 8) matrix of the cosine transform."""
    place = torch.arange(_BLOCK, dtype=torch.float32, device=device)
    matrix = torch.cos((2 * place + 1) * place[:, None] * math.pi / (2 * _BLOCK)) * math.sqrt(2 / _BLOCK)
    matrix[0] /= math.sqrt(2)
    return matrix


def _transform(planes: Tensor, table: Tensor) -> bytes:
    """Turn (N, C, h, w) planes into the bytes of their rounded coefficients, one frequency after the other."""
    count, channels, height, width = planes.shape
    blocks = planes.view(count, channels, height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK).permute(0, 1, 2, 4, 3, 5)
    cosines = _cosines(planes.device)
    rounded = ((cosines @ blocks @ cosines.T).flatten(-2).reshape(-1, _BLOCK**2) / table).round()
    means = rounded[:, 0].to(torch.int16).cpu().numpy()
    steps = np.diff(means, prepend=np.int16(0)).astype("<i2")
    others = rounded[:, 1:].clamp(-127, 127).to(torch.int8).T.contiguous().cpu().numpy()
    return steps.tobytes() + others.tobytes()


def _restore(data: bytes, shape: tuple[int, int, int, int], table: Tensor) -> Tensor:
    """Turn the bytes back into (N, C, h, w) planes on the table's device."""
    count, channels, height, width = shape
    blocks = count * channels * height * width // _BLOCK**2
    steps = np.frombuffer(data, "<i2", blocks)
    others = np.frombuffer(data, np.int8, offset=2 * blocks).reshape(_BLOCK**2 - 1, blocks)
    means = torch.from_numpy(np.cumsum(steps, dtype=np.int16).astype(np.float32)).to(table.device)
    rest = torch.from_numpy(others.copy()).to(table.device).float()
    coefficients = torch.cat((means[None], rest)).T * table
    cosines = _cosines(table.device)
    pixels = cosines.T @ coefficients.view(-1, _BLOCK, _BLOCK) @ cosines
    grid = pixels.view(count, channels, height // _BLOCK, width // _BLOCK, _BLOCK, _BLOCK)
    return grid.permute(0, 1, 2, 4, 3, 5).reshape(shape)
