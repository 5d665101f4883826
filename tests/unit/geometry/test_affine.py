import math

import cv2
import pytest
import torch

from posecli.geometry import affine
from posecli.geometry.boxes import fit_aspect


def random_matrices(count, *, rotation=True):
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 40
    size = 10 + torch.rand(count, 2, generator=generator, dtype=torch.float64) * 60
    turn = (torch.rand(count, generator=generator, dtype=torch.float64) - 0.5) * math.pi if rotation else None
    crops = fit_aspect(torch.cat((corner, corner + size), dim=1), aspect=0.75, margin=(1.25, 1.25))
    return affine.crop_matrices(crops, crop_hw=(32, 24), rotation=turn)


def smooth_image(height, width):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(1, 3, height, width, generator=generator, dtype=torch.float64)


def test_invert_undoes_transform():
    matrices = random_matrices(10)
    points = torch.rand(10, 17, 2, dtype=torch.float64) * 100

    there = affine.transform_points(points, matrices)

    back = affine.transform_points(there, affine.invert(matrices))
    torch.testing.assert_close(back, points, rtol=0, atol=1e-10)


def test_crop_of_the_whole_image_at_its_size_is_the_image():
    image = smooth_image(20, 30)
    matrices = affine.crop_matrices(torch.tensor([[0.0, 0.0, 30.0, 20.0]], dtype=torch.float64), crop_hw=(20, 30))

    torch.testing.assert_close(matrices[0], torch.eye(3, dtype=torch.float64)[:2], rtol=0, atol=1e-12)
    torch.testing.assert_close(affine.warp(image, matrices, crop_hw=(20, 30)), image, rtol=0, atol=1e-12)


def test_box_corners_become_crop_corners():
    box = torch.tensor([[10.0, 20.0, 40.0, 60.0]])

    corners = affine.transform_points(
        torch.tensor([[[-0.5, -0.5], [23.5, 31.5]]]), affine.crop_matrices(box, crop_hw=(32, 24))
    )

    torch.testing.assert_close(corners + 0.5, torch.tensor([[[10.0, 20.0], [40.0, 60.0]]]))


def test_without_half_pixels_box_corners_are_pixel_centres():
    box = torch.tensor([[10.0, 20.0, 40.0, 60.0]])
    turned = torch.tensor([math.pi / 2])

    upright = affine.crop_matrices(box, crop_hw=(32, 24), half_pixel=False)
    on_its_side = affine.crop_matrices(box, crop_hw=(32, 24), half_pixel=False, rotation=turned)

    corners = affine.transform_points(torch.tensor([[[0.0, 0.0], [24.0, 32.0]]]), upright)
    torch.testing.assert_close(corners, torch.tensor([[[10.0, 20.0], [40.0, 60.0]]]))
    corners = affine.transform_points(torch.tensor([[[0.0, 0.0], [24.0, 32.0]]]), on_its_side)
    torch.testing.assert_close(corners, torch.tensor([[[45.0, 25.0], [5.0, 55.0]]]))


def slow_warp(image, matrix, crop_hw):
    """Bilinear reading, pixel by pixel, black outside."""
    channels, height, width = image.shape
    crop = torch.zeros(channels, *crop_hw, dtype=image.dtype)
    for row in range(crop_hw[0]):
        for column in range(crop_hw[1]):
            x, y = (matrix @ torch.tensor([column, row, 1.0], dtype=image.dtype)).tolist()
            left, top = math.floor(x), math.floor(y)
            for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
                if 0 <= left + dx < width and 0 <= top + dy < height:
                    weight = (1 - abs(x - left - dx)) * (1 - abs(y - top - dy))
                    crop[:, row, column] += weight * image[:, top + dy, left + dx]
    return crop


def test_warp_agrees_with_a_slow_bilinear_loop():
    image, matrices = smooth_image(50, 70), random_matrices(3)

    crops = affine.warp(image.expand(3, -1, -1, -1), matrices, crop_hw=(32, 24))

    expected = torch.stack([slow_warp(image[0], matrix, (32, 24)) for matrix in matrices])
    torch.testing.assert_close(crops, expected, rtol=0, atol=1e-10)


def test_warp_agrees_with_opencv():
    image, matrices = smooth_image(50, 70), random_matrices(1)

    crop = affine.warp(image, matrices, crop_hw=(32, 24))[0].permute(1, 2, 0).numpy()

    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    expected = cv2.warpAffine(image[0].permute(1, 2, 0).numpy().copy(), matrices[0].numpy(), (24, 32), flags=flags)
    # OpenCV rounds positions to 1/32 pixel; on white noise that is up to 1/32 along both axes
    torch.testing.assert_close(torch.from_numpy(crop), torch.from_numpy(expected), rtol=0, atol=2 / 32)


def test_dot_at_an_image_point_appears_at_the_transformed_point():
    matrices = random_matrices(6)
    crop_points = torch.tensor([12.0, 15.0], dtype=torch.float64).expand(6, 1, 2)
    image_points = affine.transform_points(crop_points, matrices)[:, 0]
    y, x = torch.meshgrid(torch.arange(120.0), torch.arange(120.0), indexing="ij")
    spread = 4.0  # pixels; wide enough for bilinear reading to keep its centre
    away = torch.stack((x, y), dim=-1) - image_points[:, None, None]
    images = torch.exp(-away.square().sum(dim=-1) / (2 * spread**2))[:, None]

    crops = affine.warp(images, matrices, crop_hw=(32, 24))[:, 0]

    peak = crops.flatten(1).argmax(dim=1)
    assert peak.tolist() == [15 * 24 + 12] * 6


def test_rotation_turns_about_the_crop_centre():
    box = torch.tensor([[0.0, 0.0, 24.0, 32.0]])
    centre = torch.tensor([[[11.5, 15.5]]])

    for radians in (0.0, 0.4, -1.2):
        matrices = affine.crop_matrices(box, crop_hw=(32, 24), rotation=torch.tensor([radians]))
        torch.testing.assert_close(affine.transform_points(centre, matrices), centre)


def test_outside_the_image_is_black():
    matrices = affine.crop_matrices(torch.tensor([[200.0, 200.0, 224.0, 232.0]]), crop_hw=(32, 24))

    assert not affine.warp(torch.ones(1, 3, 50, 50), matrices, crop_hw=(32, 24)).any()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_agrees_with_cpu():
    image, matrices = smooth_image(50, 70), random_matrices(1)

    actual = affine.warp(image.cuda(), matrices.cuda(), crop_hw=(32, 24)).cpu()

    torch.testing.assert_close(actual, affine.warp(image, matrices, crop_hw=(32, 24)), rtol=0, atol=1e-10)


def test_composed_matrices_do_one_after_the_other():
    generator = torch.Generator().manual_seed(0)
    outer, inner = torch.randn(2, 5, 2, 3, generator=generator, dtype=torch.float64)
    points = torch.randn(5, 17, 2, generator=generator, dtype=torch.float64)

    expected = affine.transform_points(affine.transform_points(points, inner), outer)

    torch.testing.assert_close(affine.transform_points(points, affine.compose(outer, inner)), expected)
    one_for_all = affine.compose(outer, inner[0])
    torch.testing.assert_close(one_for_all, affine.compose(outer, inner[:1].expand(5, 2, 3)))
