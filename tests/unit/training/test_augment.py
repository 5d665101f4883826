from __future__ import annotations

import math

import torch

from posecli.geometry.affine import crop_matrices, invert, transform_points, warp
from posecli.skeleton import LOWER_BODY
from posecli.training.augment import (
    CropAugment,
    blend,
    change_colour,
    half_body_boxes,
    jitter_boxes,
    mask_keypoints,
    mirror_x,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_mirrored_matrices_show_the_mirrored_crop():
    image = torch.rand(1, 3, 40, 60)
    matrices = crop_matrices(torch.tensor([[10.0, 5.0, 34.0, 37.0]]), crop_hw=(32, 24))

    plain = warp(image, matrices, crop_hw=(32, 24))
    mirrored = warp(image, mirror_x(matrices, torch.tensor([True]), 24), crop_hw=(32, 24))

    torch.testing.assert_close(mirrored, plain.flip(-1), rtol=0, atol=1e-5)


def test_turned_crop_and_turned_points_agree():
    image = torch.zeros(1, 1, 80, 80)
    image[0, 0, 30, 50] = 1.0
    matrices = crop_matrices(
        torch.tensor([[8.0, 8.0, 72.0, 72.0]]), crop_hw=(64, 64), rotation=torch.tensor([math.radians(30)])
    )

    crop = warp(image, matrices, crop_hw=(64, 64))[0, 0]
    (point,) = transform_points(torch.tensor([[[50.0, 30.0]]]), invert(matrices))[0]

    y, x = divmod(int(crop.argmax()), 64)
    assert abs(float(point[0]) - x) <= 0.71
    assert abs(float(point[1]) - y) <= 0.71


def test_no_augmentation_gives_the_crop_of_inference():
    boxes = torch.tensor([[10.0, 20.0, 50.0, 100.0]])
    still = CropAugment(scale=0.0, rotation=0.0, shift=0.0)

    windows, rotation = jitter_boxes(boxes, seeded(), still, aspect=0.75, margin=(1.25, 1.25))

    torch.testing.assert_close(windows, torch.tensor([[-7.5, 10.0, 67.5, 110.0]]))
    assert float(rotation) == 0


def test_half_body_takes_a_box_around_one_half():
    points = torch.zeros(1, 17, 2)
    points[0, :, 0] = torch.arange(17) * 2.0
    points[0, list(LOWER_BODY), 1] = 100.0
    boxes = torch.tensor([[0.0, 0.0, 40.0, 110.0]])

    halves = {
        tuple(half_body_boxes(boxes, points, torch.ones(1, 17, dtype=torch.bool), seeded(seed), 1.0)[0].tolist())
        for seed in range(20)
    }

    assert len(halves) == 2
    assert all(bottom < 50 or top > 50 for _, top, _, bottom in halves)


def test_people_with_few_keypoints_are_not_halved():
    labelled = torch.zeros(1, 17, dtype=torch.bool)
    labelled[0, :7] = True
    boxes = torch.tensor([[0.0, 0.0, 40.0, 110.0]])

    assert torch.equal(half_body_boxes(boxes, torch.rand(1, 17, 2), labelled, seeded(), 1.0), boxes)


def test_colour_keeps_range_and_zero_strength_changes_nothing():
    images = torch.rand(4, 3, 8, 8)

    changed = change_colour(images, seeded(), strength=0.4, grey=0.5)
    same = change_colour(images, seeded(), strength=0.0, grey=0.0)

    assert float(changed.min()) >= 0
    assert float(changed.max()) <= 1
    assert not torch.allclose(changed, images)
    torch.testing.assert_close(same, images)


def test_keypoint_masking_covers_a_keypoint_and_doubles_one():
    images = torch.zeros(16, 3, 96, 72)
    points = torch.full((16, 17, 2), 36.0)
    images[:, :, 30:43, 30:43] = 1.0  # the only keypoint looks white
    labelled = torch.zeros(16, 17, dtype=torch.bool)
    labelled[:, 3] = True

    masked = mask_keypoints(images, points, labelled, seeded(), rate=1.0)

    assert (masked[:, 0, 36, 36] == 0).any()  # covered by background
    outside = masked.clone()
    outside[:, :, 30:43, 30:43] = 0
    assert (outside.flatten(1).amax(1) > 0).any()  # white appears elsewhere
    assert float(images[:, 0, 36, 36].min()) == 1.0  # the input is not changed


def test_nothing_is_masked_where_nothing_is_labelled():
    images = torch.rand(3, 3, 96, 72)

    masked = mask_keypoints(images, torch.rand(3, 17, 2), torch.zeros(3, 17, dtype=torch.bool), seeded(), rate=1.0)

    assert torch.equal(masked, images)


def test_another_crop_shines_through_with_less_than_half_of_its_strength():
    images = torch.stack([torch.full((3, 4, 4), value) for value in (0.0, 1.0)]).repeat(50, 1, 1, 1)

    blended = blend(images, seeded(), rate=0.6)

    change = (blended - images).abs()
    touched = change.amax(dim=(1, 2, 3)) > 0
    assert 40 < int(touched.sum()) < 80
    assert 0.4 < float(change.max()) < 0.5
    torch.testing.assert_close(blend(images, seeded(), rate=0.0), images, rtol=0, atol=0)
