from __future__ import annotations

import pytest
import torch

from posecli.geometry.affine import crop_matrices, warp
from posecli.geometry.atlas import Atlas

SIZES_WH = [(64, 48), (40, 90), (64, 48), (7, 5)]


def pictures():
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randint(1, 256, (height, width, 3), generator=generator, dtype=torch.uint8) for width, height in SIZES_WH
    ]


def boxes_anywhere(count):
    """Boxes inside, across every edge, wider than the picture, and far away from it."""
    generator = torch.Generator().manual_seed(2)
    corner = torch.rand(count, 2, generator=generator) * 160 - 60
    return torch.cat((corner, corner + 3 + torch.rand(count, 2, generator=generator) * 120), dim=1)


def one_by_one(images, owners, matrices, border):
    colour = 255 * torch.tensor(border)[:, None, None]
    crops = []
    for owner, matrix in zip(owners, matrices, strict=True):
        picture = images[owner].permute(2, 0, 1)[None].float()
        crops.append(warp(picture - colour, matrix[None], crop_hw=(32, 24)) + colour)
    return torch.cat(crops)


@pytest.mark.parametrize("border", [(0.0, 0.0, 0.0), (0.4, 0.2, 0.0)], ids=["black", "brown"])
def test_all_crops_at_once_are_those_of_each_picture_alone(border):
    images, boxes = pictures(), boxes_anywhere(60)
    owners = torch.arange(60) % len(images)
    matrices = crop_matrices(boxes, crop_hw=(32, 24), rotation=torch.linspace(-3, 3, 60))

    atlas = Atlas.of(images)
    crops = atlas.crops(atlas.places[owners], matrices, crop_hw=(32, 24), border=border)

    assert crops.shape == (60, 3, 32, 24)
    torch.testing.assert_close(crops, one_by_one(images, owners, matrices, border), rtol=0, atol=0.02)


def test_a_crop_sees_nothing_of_the_pictures_above_and_below():
    dark, bright = torch.zeros(20, 30, 3, dtype=torch.uint8), torch.full((20, 30, 3), 255, dtype=torch.uint8)
    beyond = crop_matrices(torch.tensor([[-40.0, -30.0, 70.0, 50.0]]), crop_hw=(80, 110))

    atlas = Atlas.of([bright, dark, bright])
    crops = atlas.crops(atlas.places[1:2], beyond, crop_hw=(80, 110))

    assert float(crops.abs().max()) == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_agrees_with_cpu():
    images, owners = pictures(), torch.arange(60) % len(SIZES_WH)
    matrices = crop_matrices(boxes_anywhere(60), crop_hw=(32, 24))

    here, there = Atlas.of(images), Atlas.of([image.cuda() for image in images])
    expected = here.crops(here.places[owners], matrices, crop_hw=(32, 24))
    actual = there.crops(there.places[owners].cuda(), matrices.cuda(), crop_hw=(32, 24))

    torch.testing.assert_close(actual.cpu(), expected, rtol=0, atol=0.05)
