from __future__ import annotations

import lzma
import struct

import numpy as np
import pytest
import torch
from scipy import fft  # scikit-image brings it

from posecli.training.compression import _HEADER, _LUMA, _cosines, _table, compress, decompress


def pictures(height=40, width=24, count=2):
    """Smooth colours with an edge: what a photo has, and noise has not."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    smooth = torch.stack((x * 200 / width + 20, y * 180 / height + 30, (x + y) * 2.0)).clamp(0, 255)
    smooth[:, height // 2 :] *= 0.7
    return (smooth[None] * torch.linspace(0.6, 1, count).view(-1, 1, 1, 1)).round().to(torch.uint8)


@pytest.mark.parametrize(("quality", "error"), [(95, 1.5), (75, 3.0), (30, 8.0)])
def test_pictures_come_back_nearly_as_they_were(quality, error):
    images = pictures()
    back = decompress(compress(images, quality=quality))

    assert back.shape == images.shape
    assert back.dtype == torch.uint8
    assert float((back.float() - images.float()).square().mean().sqrt()) < error


@pytest.mark.parametrize("hw", [(16, 16), (1, 1), (17, 33)])
def test_any_size_keeps_its_size(hw):
    images = pictures(*hw, count=1)
    assert decompress(compress(images, quality=90)).shape == images.shape


def test_lower_quality_takes_fewer_bytes():
    images = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    sizes = [len(compress(images, quality=quality)) for quality in (90, 50, 10)]
    assert sizes == sorted(sizes, reverse=True)


def test_a_plain_colour_survives_exactly_at_the_highest_quality():
    images = torch.tensor((255, 0, 0), dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 16, 16)
    back = decompress(compress(images, quality=100)).float()
    assert float((back - images.float()).abs().max()) <= 2  # whole-number means of three planes


def test_the_transform_is_the_orthonormal_cosine_transform():
    block = np.random.default_rng(0).standard_normal((8, 8))
    cosines = _cosines(torch.device("cpu")).double().numpy()
    np.testing.assert_allclose(cosines @ block @ cosines.T, fft.dctn(block, norm="ortho"), rtol=0, atol=1e-5)


def test_quality_50_is_the_table_as_printed():
    printed = torch.tensor(_LUMA, dtype=torch.float32).flatten()
    assert torch.equal(_table(_LUMA, 50, torch.device("cpu")), printed)


def test_no_pictures_are_no_pictures():
    assert decompress(compress(torch.zeros(0, 3, 8, 8, dtype=torch.uint8), quality=50)).shape == (0, 3, 8, 8)


@pytest.mark.parametrize("cut", [0, 3, 25, 60])
def test_cut_bytes_are_refused(cut):
    data = compress(pictures(), quality=50)
    with pytest.raises(ValueError, match=r"damaged|no compressed"):
        decompress(data[:cut])


def test_a_bomb_is_refused_before_it_unfolds():
    header = _HEADER.pack(b"pxdc", 1 << 20, 1 << 12, 1 << 12, 50)
    with pytest.raises(ValueError, match="damaged"):
        decompress(header + lzma.compress(b"\0" * 1000))


def test_more_coefficients_than_promised_are_refused():
    data = compress(pictures(64, 64), quality=50)
    magic, _, _, _, quality = _HEADER.unpack_from(data)
    small = struct.pack("<4sIIII", magic, 1, 16, 16, quality)
    with pytest.raises(ValueError, match="damaged"):
        decompress(small + data[_HEADER.size :])


@pytest.mark.parametrize("images", [torch.zeros(1, 3, 8, 8), torch.zeros(3, 8, 8, dtype=torch.uint8)])
def test_other_shapes_and_kinds_are_refused(images):
    with pytest.raises(ValueError, match="uint8"):
        compress(images, quality=50)
