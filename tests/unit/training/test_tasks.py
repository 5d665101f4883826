"""What a refiner is trained towards, by the convention of its answers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from posecli.config import DatasetConfig, LossConfig, TrainConfig
from posecli.errors import ConfigError
from posecli.networks import get_spec
from posecli.networks.posefix import PoseFix
from posecli.training.augment import CropAugment
from posecli.training.samples import Canvases, Crops
from posecli.training.tasks import RefinerTask, run_spec

CONFIG = TrainConfig(
    network="prs-tiny",
    datasets=(DatasetConfig(images="none"),),
    loss=LossConfig(structure=0.0, location=0.0, hardest=0, coarse_scale=0.5),
)
STILL = CropAugment(scale=0.0, rotation=0.0, shift=0.0, half_body=0.0, flip=0.0, colour=0.0, grey=0.0, mask=0.0)
HW = (64, 64)


def task_of(spec):
    """Three people with every keypoint labelled, the last with somebody near."""
    generator = torch.Generator().manual_seed(0)
    canvases = Canvases.of([torch.randint(0, 256, (3, 96, 96), dtype=torch.uint8, generator=generator)] * 3)
    boxes = torch.tensor((24.0, 24, 72, 72)).expand(3, 4)
    points = 30 + 36 * torch.rand(3, 17, 2, generator=generator)
    near = torch.tensor((False, False, True))[:, None].expand(3, 17)
    labelled = torch.ones(3, 17)
    crops = Crops(
        canvases, boxes, points, labelled, labelled > 0, points.flip(0), near, torch.zeros(3, dtype=torch.int64)
    )
    return RefinerTask(CONFIG, spec, crops, STILL, torch.device("cpu"))


def batch_of(task):
    return task.batch(torch.arange(3), torch.Generator().manual_seed(1), HW)


class Answers(nn.Module):
    """Gives the same answers to everything."""

    def __init__(self, *answers):
        super().__init__()
        self.answers = answers

    draw_prior = staticmethod(PoseFix.draw_prior)

    def forward(self, images, *prior):
        return self.answers


def test_an_answer_as_high_as_the_codec_says_costs_nothing():
    spec = get_spec("cpn-r50")
    task = task_of(spec)
    batch = batch_of(task)
    codecs = [replace(spec.codec, heatmap_sigma=sigma) for sigma in spec.target_sigmas]
    targets = [codec.encode(batch["points"], heatmap_hw=(16, 16)) for codec in codecs]

    losses = task.losses(Answers(*(255 * target for target in targets)), batch)
    low = task.losses(Answers(*targets), batch)

    assert list(losses) == [f"stage{number}" for number in range(5)]
    assert all(float(loss) == pytest.approx(0, abs=1e-10) for loss in losses.values())
    assert all(float(loss) > 1e-3 for loss in low.values())


def test_fewer_outputs_than_the_spec_has_are_its_last():
    spec = get_spec("mspn-2")
    task = task_of(spec)
    batch = batch_of(task)
    targets = [
        replace(spec.codec, heatmap_sigma=sigma).encode(batch["points"], heatmap_hw=(16, 16))
        for sigma in spec.target_sigmas[-4:]
    ]

    losses = task.losses(Answers(*(spec.codec.peak * target for target in targets)), batch)

    assert all(float(loss) == pytest.approx(0, abs=1e-10) for loss in losses.values())


def test_kernels_get_narrower_from_stage_to_stage_or_are_all_the_same():
    task = task_of(get_spec("prs-tiny"))
    widths = [task._codec_at(stride, 0).heatmap_sigma * stride for stride in (16, 8, 4)]
    task.loss = replace(task.loss, coarse_to_fine=False)
    equal = [task._codec_at(stride, 0).heatmap_sigma * stride for stride in (16, 8, 4)]

    assert widths[0] > widths[1] > widths[2]
    assert equal == [widths[2]] * 3
    mspn = task_of(get_spec("mspn-2"))
    mspn.loss = replace(mspn.loss, coarse_to_fine=False)
    assert {mspn._codec_at(4, number).heatmap_sigma for number in range(-8, 0)} == {mspn.spec.target_sigmas[-1]}


def test_poses_to_fix_are_disturbed_and_the_softmax_is_drawn_to_the_truth():
    spec = get_spec("posefix-r50")
    task = task_of(spec)
    batch = batch_of(task)
    cells = spec.codec.to_cells(batch["points"], heatmap_hw=(16, 16))
    sharp = 8 * replace(spec.codec, heatmap_sigma=0.7).encode(batch["points"], heatmap_hw=(16, 16))

    right = task.losses(Answers(sharp), batch)["stage0"]
    wrong = task.losses(Answers(sharp.flip(-1)), batch)["stage0"]

    assert batch["prior"].shape == (3, 17, 2)
    assert 0 < float((batch["prior"] - batch["points"]).norm(dim=-1).median()) < 16
    assert 3 * float(right) < float(wrong)
    assert cells.amax() < 16


def test_other_networks_get_no_prior():
    assert "prior" not in batch_of(task_of(get_spec("prs-tiny")))


def test_a_run_changes_its_network():
    run = replace(CONFIG, network="cpn-r50", network_options={"refine": "none"}, input_hw=(128, 96))

    assert run_spec(run).input_hw == (128, 96)
    assert run_spec(replace(run, input_hw=None)).input_hw == (256, 192)
    assert run_spec(replace(CONFIG, network="detposenet-tiny", input_hw=(128, 128))).input_hw == (416, 416)
    with pytest.raises(ConfigError, match="cpn-r50 has no option 'refines'"):
        run_spec(replace(run, network_options={"refines": "none"}))
