from __future__ import annotations

import pytest
import torch

from posecli.config import SUBPIXEL_METHODS, RefineConfig
from posecli.errors import ConfigError
from posecli.geometry.affine import crop_matrices, warp
from posecli.geometry.heatmaps import HeatmapCodec
from posecli.geometry.subpixel import METHODS
from posecli.networks import ModelSpec
from posecli.stages.refine import People, Refiner, cut_crops

CPU = torch.device("cpu")


def test_crops_show_the_border_colour_outside_the_picture():
    image = torch.full((10, 10, 3), 200, dtype=torch.uint8)
    matrices = torch.tensor(((1.0, 0.0, -4.0), (0.0, 1.0, 2.0)))[None]  # crop pixel (x, y) shows (x - 4, y + 2)

    black = cut_crops(image, matrices, crop_hw=(6, 8))
    brown = cut_crops(image, matrices, crop_hw=(6, 8), border=(0.4, 0.2, 0.0))

    torch.testing.assert_close(black[0, :, 3, :3], torch.zeros(3, 3))
    torch.testing.assert_close(brown[0, :, 3, 0], torch.tensor((102.0, 51.0, 0.0)))
    torch.testing.assert_close(brown[0, :, 3, 4:], torch.full((3, 4), 200.0))


def soft_picture(height, width):
    image = torch.rand(1, 3, height // 8, width // 8, generator=torch.Generator().manual_seed(0)) * 255
    image = torch.nn.functional.interpolate(image, (height, width), mode="bicubic").clamp(0, 255)
    return image[0].permute(1, 2, 0).to(torch.uint8)


@pytest.mark.parametrize("turned", [0.0, 0.4])
def test_crops_are_what_training_warps_up_to_fractions_of_a_pixel(turned):
    image = soft_picture(96, 128)
    boxes = torch.tensor(((20.0, 10.0, 80.0, 90.0), (-30.0, -20.0, 30.0, 60.0), (110.0, 70.0, 140.0, 110.0)))
    matrices = crop_matrices(boxes, crop_hw=(48, 36), rotation=torch.full((3,), turned))

    crops = cut_crops(image, matrices, crop_hw=(48, 36))

    planes = image.permute(2, 0, 1)[None].float().expand(3, -1, -1, -1)
    expected = warp(planes, matrices, crop_hw=(48, 36))
    away = (crops - expected).abs()
    assert away.mean() < 0.3
    assert away.max() < 6  # OpenCV before 5.0 knows thirty-seconds of a pixel


def test_a_crop_of_a_very_long_picture_shows_all_of_it():
    image = torch.zeros(40, 80_000, 3, dtype=torch.uint8)
    image[:, 40_000:] = 200

    crops = cut_crops(image, torch.tensor(((10_000.0, 0.0, 5_000.0), (0.0, 5.0, 0.0)))[None], crop_hw=(8, 8))

    assert crops[0, 0, 4].tolist() == [0, 0, 0, 0, 200, 200, 200, 200]


def test_a_box_beside_the_picture_is_all_border():
    far = torch.tensor((((1.0, 0.0, 50.0), (0.0, 1.0, 2.0)), ((1.0, 0.0, -50.0), (0.0, 1.0, -70.0))))

    crops = cut_crops(torch.full((10, 10, 3), 200, dtype=torch.uint8), far, crop_hw=(6, 8))

    assert not crops.any()


class DotFinder(torch.nn.Module):
    """Answers the crop's own brightness at a stride: a white dot on black becomes a peak at the dot."""

    def __init__(self, stride, *, gain=1.0):
        super().__init__()
        self.stride, self.gain, self.seen = stride, gain, []

    def forward(self, crops):
        self.seen.append(crops)
        bright = (crops[:, :1] * 0.5 + 0.5) * self.gain  # undoes mean and std of .5
        return (torch.nn.functional.avg_pool2d(bright, self.stride).expand(-1, 17, -1, -1),)


class PriorMover(torch.nn.Module):
    """Answers the poses that it is given, one cell to the right."""

    def draw_prior(self, points, visible, *, crop_hw):
        assert visible.all()
        return HeatmapCodec(stride=4).encode(points, heatmap_hw=(crop_hw[0] // 4, crop_hw[1] // 4))

    def forward(self, crops, prior):
        return (prior.roll(1, dims=-1),)


def spec_of(stride=4, input_hw=(256, 192), **options):
    codec = HeatmapCodec(stride=stride, **options.pop("codec", {}))
    return ModelSpec(name="stub", kind="refiner", build=torch.nn.Identity, input_hw=input_hw, codec=codec, **options)


def picture_with_dot(x, y):
    """A soft white dot, so that it can be found to a fraction of a pixel."""
    columns, rows = torch.arange(320.0), torch.arange(240.0)
    dot = torch.exp(-((columns - x) ** 2 + (rows[:, None] - y) ** 2) / (2 * 4.0**2))
    return (255 * dot).round().to(torch.uint8)[..., None].expand(-1, -1, 3)


BOXES = torch.tensor([[100.0, 40.0, 180.0, 200.0], [90.0, 60.0, 200.0, 180.0]])
DOT = (140.3, 117.8)


def find_dot(members, **options):
    refiner = Refiner(members, RefineConfig(**options), CPU)
    nobody = torch.full((50, 60, 3), 7, dtype=torch.uint8)
    images, boxes = [nobody, picture_with_dot(*DOT), picture_with_dot(*DOT)], [BOXES[:0], BOXES, BOXES[:1]]
    nothing, *found = refiner(images, boxes, batch=2)
    assert nothing[0].shape == (0, 17, 2)
    assert [len(points) for points, _ in found] == [2, 1]
    return torch.cat([points for points, _ in found]), torch.cat([scores for _, scores in found])


@pytest.mark.parametrize(
    "options",
    [
        {}, {"flip_test": True}, {"scales": (1.0, 1.3)}, {"scales": (1.4, 0.9, 1.1), "flip_test": True},
        {"rotations": (0.0, 30.0, -30.0)}, {"rotations": (20.0,)}, {"scales": (0.8, 1.2), "rotations": (-15.0, 15.0)},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize(
    "members",
    [
        [(4, (256, 192))],
        [(4, (256, 192)), (2, (128, 96))],
        [(8, (384, 288)), (4, (192, 192)), (4, (256, 192))],
    ],
    ids=str,
)
def test_every_view_finds_the_same_place(members, options):
    networks = [(DotFinder(stride), spec_of(stride, input_hw)) for stride, input_hw in members]

    points, scores = find_dot(networks, **options)

    torch.testing.assert_close(points, torch.tensor(DOT).expand(3, 17, 2), rtol=0, atol=0.15)
    assert (scores > 0.5).all()


def test_networks_are_averaged_where_both_see_and_one_stands_alone_elsewhere():
    class Constant(torch.nn.Module):
        def __init__(self, value):
            super().__init__()
            self.value = value

        def forward(self, crops):
            return (crops.new_full((len(crops), 17, crops.shape[2] // 4, crops.shape[3] // 4), self.value),)

    half = spec_of(margin=(0.625, 0.625))  # sees the middle half of what the first one sees
    refiner = Refiner([(Constant(0.2), spec_of()), (Constant(0.8), half)], RefineConfig(refiner="a+b"), CPU)

    maps = refiner.heatmaps(People([picture_with_dot(0, 0)], [0], BOXES[:1]))

    assert maps.shape == (1, 17, 64, 48)
    torch.testing.assert_close(maps[0, 0, 20:44, 16:32], torch.full((24, 16), 0.5))
    torch.testing.assert_close(maps[0, 0, :14], torch.full((14, 48), 0.2))
    torch.testing.assert_close(maps[0, 0, :, -10:], torch.full((64, 10), 0.2))


@pytest.mark.parametrize("shift", [0.0, 0.4, 0.75, 1.0])
def test_flip_shift_moves_the_mirrored_answer_as_far(shift):
    class Stripe(torch.nn.Module):
        def forward(self, crops):
            maps = torch.zeros(len(crops), 17, 4, 10)
            maps[..., 3] = 1.0
            return (maps,)

    refiner = Refiner([(Stripe(), spec_of())], RefineConfig(flip_test=True, flip_shift=shift), CPU)

    maps = refiner.heatmaps(People([picture_with_dot(0, 0)], [0], BOXES[:1]))

    expected = torch.tensor([0, 0, 0, 0.5, 0, 0, 0.5 * (1 - shift), 0.5 * shift, 0, 0])
    torch.testing.assert_close(maps[0, 0, 0], expected)
    assert refiner.config.flip_shift == shift


def test_what_the_weights_decide_is_recorded_and_may_be_overridden():
    spec = spec_of(codec={"subpixel": "quarter", "blur": 5, "flip_shift": 0.75})

    as_trained = Refiner([(DotFinder(4), spec)], RefineConfig(), CPU)
    overridden = Refiner([(DotFinder(4), spec)], RefineConfig(subpixel="dark", blur=0, flip_shift=0.0), CPU)

    assert (as_trained.config.subpixel, as_trained.config.blur, as_trained.config.flip_shift) == ("quarter", 5, 0.75)
    assert (overridden.spec.codec.subpixel, overridden.spec.codec.blur) == ("dark", 0)
    with pytest.raises(ConfigError, match="blur must be 0 or an odd number of cells, got 4"):
        Refiner([(DotFinder(4), spec)], RefineConfig(blur=4), CPU)


@pytest.mark.parametrize("flip_test", [False, True])
def test_posefix_gets_the_poses_in_its_own_crop_and_its_answer_replaces_them(flip_test):
    posefix = (PriorMover(), spec_of(takes_prior=True, input_hw=(128, 96), margin=(2.0, 2.0)))
    refiner = Refiner([(DotFinder(4), spec_of())], RefineConfig(flip_test=flip_test), CPU, posefix=posefix)
    ((before, scores),) = Refiner([(DotFinder(4), spec_of())], RefineConfig(), CPU)(
        [picture_with_dot(*DOT)], [BOXES], batch=9
    )

    ((points, scores_after),) = refiner([picture_with_dot(*DOT)], [BOXES], batch=9)

    step_px = 4 * torch.tensor([160.0, 146.67]) * 2 / 128  # a cell of its crop, whose height shows twice the box's
    moved = torch.stack((0.0 * step_px if flip_test else step_px, 0 * step_px), dim=-1)[:, None]
    torch.testing.assert_close(points - before, moved.expand(2, 17, 2), rtol=0, atol=0.05)
    if not flip_test:
        torch.testing.assert_close(scores_after, scores)


@pytest.mark.parametrize(
    "wrong",
    [
        {"refiner": "a++b"}, {"refiner": ""}, {"scales": ()}, {"scales": (1.0, 0.0)}, {"scales": (float("inf"),)},
        {"rotations": (float("nan"),)}, {"rotations": (181.0,)}, {"subpixel": "best"}, {"flip_shift": 2.0},
    ],
    ids=str,
)  # fmt: skip
def test_a_configuration_that_cannot_work_is_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        RefineConfig(**wrong)


def test_configuration_and_codec_know_the_same_methods():
    assert set(SUBPIXEL_METHODS) == set(METHODS)


def test_networks_in_the_wrong_role_are_refused():
    takes, plain = (PriorMover(), spec_of(takes_prior=True)), (DotFinder(4), spec_of())

    with pytest.raises(ConfigError, match="name it with --posefix"):
        Refiner([takes], RefineConfig(), CPU)
    with pytest.raises(ConfigError, match="name it with --refiner"):
        Refiner([plain], RefineConfig(), CPU, posefix=plain)


def test_colour_order_and_border_are_the_networks_own():
    network = DotFinder(4)
    red = torch.zeros(64, 64, 3, dtype=torch.uint8)
    red[..., 0] = 255
    spec = spec_of(bgr=True, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), border=(0.0, 0.5, 0.0))

    Refiner([(network, spec)], RefineConfig(), CPU)([red], [torch.tensor([[0.0, 0.0, 64.0, 64.0]])], batch=1)

    middle, corner = network.seen[0][0, :, 128, 96], network.seen[0][0, :, 0, 0]
    torch.testing.assert_close(middle, torch.tensor([0.0, 0.0, 1.0]))
    torch.testing.assert_close(corner, torch.tensor([0.0, 0.5, 0.0]))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_finds_the_same_people():
    def found(device):
        members = [(DotFinder(4), spec_of()), (DotFinder(2), spec_of(2, (128, 96)))]
        config = RefineConfig(refiner="a+b", flip_test=True, scales=(1.0, 1.2), rotations=(0.0, 20.0))
        ((points, scores),) = Refiner(members, config, torch.device(device))([picture_with_dot(*DOT)], [BOXES], batch=1)
        return points.cpu(), scores.cpu()

    torch.testing.assert_close(found("cuda"), found("cpu"), rtol=0, atol=0.01)  # pixels of the picture
