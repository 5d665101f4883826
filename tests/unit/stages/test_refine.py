from __future__ import annotations

import torch

from posecli.stages.refine import cut_crops


def test_crops_show_the_border_colour_outside_the_picture():
    image = torch.full((10, 10, 3), 200, dtype=torch.uint8)
    matrices = torch.tensor(((1.0, 0.0, -4.0), (0.0, 1.0, 2.0)))[None]  # crop pixel (x, y) shows (x - 4, y + 2)

    black = cut_crops(image, matrices, crop_hw=(6, 8))
    brown = cut_crops(image, matrices, crop_hw=(6, 8), border=(0.4, 0.2, 0.0))

    torch.testing.assert_close(black[0, :, 3, :3], torch.zeros(3, 3))
    torch.testing.assert_close(brown[0, :, 3, 0], torch.tensor((102.0, 51.0, 0.0)))
    torch.testing.assert_close(brown[0, :, 3, 4:], torch.full((3, 4), 200.0))
