import cv2
import numpy as np
import pytest
import torch

from posecli.errors import ConfigError
from posecli.geometry.heatmaps import HeatmapCodec, flip_merge, gaussian_blur
from posecli.geometry.subpixel import METHODS
from posecli.skeleton import MIRROR


def random_points(low, high, count=500):
    generator = torch.Generator().manual_seed(0)
    return low + torch.rand(1, count, 2, generator=generator) * (torch.tensor(high) - low)


@pytest.mark.parametrize("stride", [2, 4, 8])
@pytest.mark.parametrize("offset", [None, 0.0, 2.0])
@pytest.mark.parametrize("blur", [0, 11])
def test_decode_undoes_encode_within_a_quarter_pixel(stride, offset, blur):
    codec = HeatmapCodec(stride=stride, heatmap_sigma=2.0, offset=offset, blur=blur)
    margin = 8.0 * stride  # blurring near the border moves the peak
    points = random_points(margin, [64.0 * stride - margin, 48.0 * stride - margin])

    decoded, scores = codec.decode(codec.encode(points, heatmap_hw=(48, 64)))

    torch.testing.assert_close(decoded, points, rtol=0, atol=0.25)
    assert (scores > 0.9).all()


def test_unrefined_decoding_is_the_nearest_cell():
    codec = HeatmapCodec(subpixel="none")
    points = random_points(0, [255.0, 191.0])

    decoded, _ = codec.decode(codec.encode(points, heatmap_hw=(48, 64)))

    torch.testing.assert_close(decoded, points, rtol=0, atol=2.001)


def test_points_survive_up_to_the_border_cells():
    codec = HeatmapCodec()
    points = torch.tensor([[[1.5, 1.5], [253.5, 1.5], [1.5, 189.5], [253.5, 189.5]]])

    decoded, _ = codec.decode(codec.encode(points, heatmap_hw=(48, 64)))

    torch.testing.assert_close(decoded, points, rtol=0, atol=0.01)


# where the first and the last cells of 48 x 64 are in a crop of 192 x 256 pixels
ENDS = {
    "stride": [[1.5, 1.5], [189.5, 253.5]],
    "corners": [[0.0, 0.0], [191.0, 255.0]],
    "stretched": [[0.0, 0.0], [192.0, 256.0]],
}


@pytest.mark.parametrize("spacing", ENDS)
def test_cells_and_pixels_are_inverse(spacing):
    codec, size = HeatmapCodec(spacing=spacing), (64, 48)
    points = random_points(0, [99.0, 99.0])

    ends = codec.to_pixels(torch.tensor([[0.0, 0.0], [47.0, 63.0]]), heatmap_hw=size)

    torch.testing.assert_close(ends, torch.tensor(ENDS[spacing]))
    torch.testing.assert_close(codec.to_cells(codec.to_pixels(points, heatmap_hw=size), heatmap_hw=size), points)
    homogeneous = torch.cat((points, torch.ones_like(points[..., :1])), dim=-1)
    there = homogeneous @ codec.cell_matrix(size, like=points).T
    torch.testing.assert_close(there, codec.to_pixels(points, heatmap_hw=size))


@pytest.mark.parametrize("spacing", ENDS)
def test_every_spacing_decodes_what_it_encodes(spacing):
    codec = HeatmapCodec(spacing=spacing)
    points = random_points(20, [170.0, 230.0])

    decoded, _ = codec.decode(codec.encode(points, heatmap_hw=(64, 48)))

    torch.testing.assert_close(decoded, points, rtol=0, atol=0.25)


def test_a_map_of_one_cell_has_a_place():
    points, _ = HeatmapCodec(spacing="corners").decode(torch.ones(1, 17, 1, 1))

    assert points.abs().max() == 0


def test_point_far_outside_leaves_nothing():
    assert HeatmapCodec().encode(torch.tensor([[[-500.0, 20.0]]]), heatmap_hw=(48, 64)).max() < 1e-6


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf"), -1.0])
def test_flat_or_broken_heatmap_scores_nothing_and_stays_finite(value):
    points, scores = HeatmapCodec().decode(torch.full((1, 17, 48, 64), value))

    assert torch.isfinite(points).all()
    assert (scores == 0).all()


def test_batch_shapes_pass_through():
    codec = HeatmapCodec()
    heatmaps = codec.encode(torch.rand(2, 3, 17, 2) * 100, heatmap_hw=(48, 64))

    points, scores = codec.decode(heatmaps)

    assert heatmaps.shape == (2, 3, 17, 48, 64)
    assert (points.shape, scores.shape) == ((2, 3, 17, 2), (2, 3, 17))


@pytest.mark.parametrize("kernel", [3, 5, 7, 9, 11, 17])
def test_blur_is_opencvs_in_the_interior(kernel):
    maps = np.random.default_rng(0).random((40, 50))

    blurred = gaussian_blur(torch.from_numpy(maps)[None], kernel)[0]

    expected = torch.from_numpy(cv2.GaussianBlur(maps, (kernel, kernel), 0))
    inner = slice(kernel, -kernel)  # OpenCV mirrors at the border, we pad with zeros
    torch.testing.assert_close(blurred[inner, inner], expected[inner, inner], rtol=0, atol=1e-9)


def test_blur_counts_nothing_beyond_the_border():
    maps = torch.rand(2, 3, 6, 9, generator=torch.Generator().manual_seed(0))
    weights = torch.tensor((1.0, 4.0, 6.0, 4.0, 1.0)) / 16

    blurred = gaussian_blur(maps, 5)

    padded = torch.nn.functional.pad(maps, (2, 2, 2, 2))
    expected = (padded.unfold(-2, 5, 1).unfold(-2, 5, 1) * weights[:, None] * weights).sum((-2, -1))
    torch.testing.assert_close(blurred, expected, rtol=0, atol=1e-6)


def test_first_of_equally_high_cells_is_decoded_whatever_the_layout_in_memory():
    heatmaps = torch.zeros(1, 2, 6, 8)
    heatmaps[0, 0, 1, 2] = heatmaps[0, 0, 4, 5] = heatmaps[0, 1, 3, 7] = heatmaps[0, 1, 5, 0] = 0.5
    codec = HeatmapCodec(stride=1, subpixel="none")

    points, _ = codec.decode(heatmaps)
    same, _ = codec.decode(heatmaps.contiguous(memory_format=torch.channels_last))

    assert points.tolist() == same.tolist() == [[[2, 1], [7, 3]]]


@pytest.mark.parametrize("sigma", [0.7, 3.0])
def test_blur_takes_a_sigma(sigma):
    maps = np.random.default_rng(0).random((40, 50))

    blurred = gaussian_blur(torch.from_numpy(maps)[None], 9, sigma)[0]

    expected = torch.from_numpy(cv2.GaussianBlur(maps, (9, 9), sigma))
    torch.testing.assert_close(blurred[9:-9, 9:-9], expected[9:-9, 9:-9], rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "wrong",
    [
        {"subpixel": "best"}, {"blur": 4}, {"blur": -1}, {"blur_sigma": 0.0}, {"flip_shift": 1.5}, {"stride": 0},
        {"heatmap_sigma": float("nan")}, {"activation": "sigmoid"}, {"spacing": "udp"},
    ],
    ids=str,
)  # fmt: skip
def test_a_codec_that_cannot_work_is_refused(wrong):
    with pytest.raises(ConfigError, match=f"{next(iter(wrong))}.*{next(iter(wrong.values()))}"):
        HeatmapCodec(**wrong)


def test_flip_merge_of_the_mirrored_maps_is_the_maps():
    heatmaps = torch.rand(2, 17, 48, 36)
    mirrored = heatmaps.flip(-1)[:, list(MIRROR)]

    torch.testing.assert_close(flip_merge(heatmaps, mirrored, MIRROR), heatmaps)


@pytest.mark.parametrize("stride", [2, 4, 8])
@pytest.mark.parametrize("offset", [None, 0.0, 0.25])
def test_mirrored_map_lies_right_after_the_shift_that_its_codec_asks_for(stride, offset):
    codec = HeatmapCodec(stride=stride, offset=offset)
    width = 64 * stride
    points = random_points(8.0 * stride, [width - 8.0 * stride, 40.0 * stride])
    mirrored_points = torch.stack((width - 1 - points[..., 0], points[..., 1]), dim=-1)
    maps, mirrored = (codec.encode(given, heatmap_hw=(48, 64)) for given in (points, mirrored_points))
    as_they_are = tuple(range(points.shape[1]))

    def error_px(shift):
        return float((codec.decode(flip_merge(maps, mirrored, as_they_are, shift=shift))[0] - points).abs().max())

    right_shift = 0.0 if offset is None else 1 - (2 * offset + 1) / stride
    assert error_px(right_shift) < 0.02 * stride
    for wrong in {0.0, 0.5, 1.0} - {right_shift}:
        assert error_px(wrong) > 0.9 * stride * abs(wrong - right_shift) / 2  # the mean lies half as far off


def test_mirror_twice_is_the_same_keypoint():
    assert [MIRROR[MIRROR[index]] for index in range(17)] == list(range(17))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("subpixel", METHODS)
def test_cuda_decodes_the_same(subpixel):
    codec = HeatmapCodec(subpixel=subpixel, blur=11)
    maps = codec.encode(random_points(20.0, [200.0, 150.0]), heatmap_hw=(48, 64))
    everyone = tuple(range(maps.shape[1]))
    there = flip_merge(maps.to("cuda"), maps.flip(-1).to("cuda"), everyone, shift=0.3)

    points, scores = codec.decode(there)

    expected_points, expected_scores = codec.decode(flip_merge(maps, maps.flip(-1), everyone, shift=0.3))
    torch.testing.assert_close(points.cpu(), expected_points, rtol=0, atol=1e-3)
    torch.testing.assert_close(scores.cpu(), expected_scores, rtol=0, atol=1e-6)
