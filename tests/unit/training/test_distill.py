"""A teacher's heatmaps lie where its keypoints are, cost nothing to itself, and teach only what it sees."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from posecli.config import DatasetConfig, TeacherConfig, TrainConfig, load_train_config
from posecli.errors import ConfigError
from posecli.geometry.heatmaps import HeatmapCodec
from posecli.networks import get_spec
from posecli.training.aids import load_teacher
from posecli.training.augment import CropAugment
from posecli.training.distill import Teacher
from posecli.training.losses import teacher_loss
from posecli.training.samples import Canvases, Crops
from posecli.training.tasks import Aids, RefinerTask, make_task

CPU = torch.device("cpu")
HW = (64, 64)
CONFIG = TrainConfig(
    network="prs-tiny", datasets=(DatasetConfig(images="none"),), teacher=TeacherConfig(network="prs-tiny", weight=2.0)
)
SPEC = replace(get_spec("prs-tiny"), input_hw=HW)


def crops():
    """Two people, and a place where nobody is."""
    generator = torch.Generator().manual_seed(0)
    canvases = Canvases(torch.randint(0, 256, (3, 3, 96, 96), dtype=torch.uint8, generator=generator))
    boxes = torch.tensor((24.0, 24, 72, 72)).expand(3, 4)
    points = 30 + 36 * torch.rand(3, 17, 2, generator=generator)
    present = torch.tensor((True, True, False))[:, None].expand(3, 17)
    near = torch.zeros(3, 17, dtype=torch.bool)
    return Crops(canvases, boxes, points, torch.ones(3, 17), present, points, near, torch.zeros(3))


def batch_of(task):
    return task.batch(torch.arange(3), torch.Generator().manual_seed(1), HW)


def test_a_teacher_has_nothing_to_teach_itself_and_never_learns():
    network = SPEC.build().eval()
    for head in (*network.heads, network.msr.head):
        nn.init.uniform_(head.weight, 0.0, 0.4)  # answers in its range, none of them flat
    teacher = Teacher(network, SPEC, replace(CONFIG.teacher, min_score=0.0), CPU)
    with torch.no_grad():
        answer = network(batch_of(RefinerTask(CONFIG, SPEC, crops(), CropAugment(), CPU))["images"])[-1]
        network.msr.head.weight /= answer.abs().amax()
        network.msr.head.bias -= answer.amin() / answer.abs().amax()
    task = RefinerTask(CONFIG, SPEC, crops(), CropAugment(), CPU, Aids(teacher))
    batch = batch_of(task)

    own = task.losses(network, batch)["teacher"]
    student = SPEC.build().eval()
    other = task.losses(student, batch)["teacher"]
    other.backward()

    assert float(batch["taught"].amax()) > 0.1
    assert float(own) == pytest.approx(0, abs=1e-9)
    assert float(other.detach()) > 1e-4
    assert not [weight for weight in network.parameters() if weight.requires_grad or weight.grad is not None]
    assert student.msr.head.weight.grad.abs().sum() > 0


class Draws(nn.Module):
    """Finds the brightest pixel of its crop and draws a Gaussian there, by its own codec."""

    def __init__(self, codec):
        super().__init__()
        self.codec = codec
        self.seen = []

    def forward(self, images):
        self.seen.append(images)
        peak = images[:, 0].flatten(1).argmax(1)
        height, width = images.shape[-2:]
        points = torch.stack((peak % width, peak // width), dim=-1)[:, None].float()
        maps = self.codec.encode(points.expand(-1, 17, 2), heatmap_hw=(height // 4, width // 4))
        return (maps * self.codec.peak,)


@pytest.mark.parametrize("offset", [None, 0.0])
def test_a_larger_teachers_heatmaps_lie_where_they_belong(offset):
    own = HeatmapCodec(stride=4, heatmap_sigma=2.0, peak=255.0, offset=offset, blur=0)
    spec = replace(SPEC, input_hw=(256, 256), codec=own, mean=(0.0,) * 3, std=(1.0,) * 3)
    teacher = Teacher(Draws(own), spec, CONFIG.teacher, CPU)
    images = torch.zeros(2, 3, 64, 64)
    places = torch.tensor([[20.0, 33.0], [47.0, 9.0]])
    for image, (x, y) in zip(images, places.int().tolist(), strict=True):
        image[:, y, x] = 1

    taught = teacher.heatmaps(images, SPEC.codec)

    assert teacher.network.seen[0].shape == (2, 3, 256, 256)
    assert taught.shape == (2, 17, 16, 16)
    found, scores = replace(SPEC.codec, blur=0).decode(taught)
    torch.testing.assert_close(found[:, 0], places, rtol=0, atol=1.1)
    assert float(scores.min()) > 0.5


def test_what_the_teacher_does_not_see_and_where_nobody_is_teaches_nothing():
    taught = torch.zeros(3, 17, 16, 16)
    taught[:, 3, 5, 5] = 0.9
    taught[:, 4, 5, 5] = 0.2
    teacher = Teacher(Draws(SPEC.codec), SPEC, CONFIG.teacher, CPU)
    task = RefinerTask(CONFIG, SPEC, crops(), CropAugment(), CPU, Aids(teacher))
    batch = {**batch_of(task), "taught": taught}
    answer = torch.zeros_like(taught)

    loss = task._teacher_loss(answer, batch, CONFIG.teacher)
    answer[:2, 4] = 7.0  # below min_score
    answer[2] = 7.0  # nobody there
    unmoved = task._teacher_loss(answer, batch, CONFIG.teacher)
    answer[0, 3] = 7.0
    moved = task._teacher_loss(answer, batch, CONFIG.teacher)

    expected = CONFIG.teacher.weight * (1 + 15 * 0.9) * 0.9**2 / 16**2
    assert float(loss) == pytest.approx(expected)
    assert float(unmoved) == pytest.approx(expected)
    assert float(moved) > 10 * expected
    assert float(teacher_loss(answer, taught, torch.zeros(3, 17, dtype=torch.bool))) == 0


def test_a_share_of_the_crops_is_taught():
    network = SPEC.build().eval()
    config = replace(CONFIG, teacher=replace(CONFIG.teacher, min_score=0.0, share=0.5))
    task = RefinerTask(config, SPEC, crops(), CropAugment(), CPU, Aids(Teacher(network, SPEC, config.teacher, CPU)))
    batch = batch_of(task)
    answer = torch.rand(3, 17, 16, 16)

    loss = task._teacher_loss(answer, batch, config.teacher)
    answer[2] = 7.0
    unmoved = task._teacher_loss(answer, batch, config.teacher)

    assert len(batch["taught"]) == 2
    assert len(batch["images"]) == 3
    assert float(loss) == float(unmoved) > 0


def test_places_are_taught_as_far_as_the_teacher_sees_them():
    taught = torch.zeros(1, 17, 16, 16)
    taught[0, 3, 5, 5], taught[0, 4, 9, 9] = 0.9, 0.3
    sure = torch.ones(1, 17, dtype=torch.bool)
    answer = taught.clone()
    strong, weak = answer.clone(), answer.clone()
    strong[0, 3], weak[0, 4] = taught[0, 3].roll(2, -1), taught[0, 4].roll(2, -1)

    right, one, other = (
        float(teacher_loss(heatmaps, taught, sure, location=1.0) - teacher_loss(heatmaps, taught, sure))
        for heatmaps in (answer, strong, weak)
    )

    assert right < one
    assert right < other
    assert one - right > 3 * (other - right)


def test_a_teacher_that_is_missing_or_of_no_use_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="a pack does not bring"):
        make_task(CONFIG, SPEC, crops(), CPU)
    with pytest.raises(ConfigError, match="posefix-r50 gives no heatmaps"):
        make_task(CONFIG, get_spec("posefix-r50"), crops(), CPU)
    with pytest.raises(ConfigError, match="posefix-r50 refines poses"):
        Teacher(nn.Identity(), get_spec("posefix-r50"), CONFIG.teacher, CPU)
    assert load_teacher(replace(CONFIG, teacher=None), tmp_path, CPU) is None


def test_a_configuration_names_its_teacher(tmp_path):
    path = tmp_path / "run.toml"
    text = 'network = "prs-tiny"\n[teacher]\nnetwork = "hrnet-w32"\ninput_hw = [128, 96]\n[[datasets]]\nimages = "a"\n'
    path.write_text(text)

    assert load_train_config(path).teacher == TeacherConfig(network="hrnet-w32", input_hw=(128, 96))
    path.write_text(text.replace("input_hw", "input"))
    with pytest.raises(ConfigError, match=r"teacher: unknown key 'input'; did you mean input_hw\?"):
        load_train_config(path)
