"""The flow with stub networks: order, frames without pictures, and a device that is too small."""

from __future__ import annotations

import pytest
import torch

from posecli.backends.loading import RANDOM_WEIGHTS
from posecli.config import DetectConfig, FilterConfig, PipelineConfig, RefineConfig
from posecli.errors import ConfigError, DeviceError
from posecli.networks import get_spec
from posecli.networks.detposenet import RawProposals, cell_centres
from posecli.pipeline import Pipeline, load_pipeline, load_refiner
from posecli.records import Frame
from posecli.runtime import Reduced
from posecli.stages.detect import Proposer
from posecli.stages.refine import Refiner

CPU = torch.device("cpu")


class OneBox(torch.nn.Module):
    """Proposes one sure box of 32 by 64 input pixels in the middle of every picture that is not black."""

    def forward(self, images):
        height, width = images.shape[-2:]
        centres, _ = cell_centres(height, width, device=images.device)
        half = torch.tensor([16.0, 32.0])
        middle = torch.tensor([width / 2, height / 2])
        boxes = torch.cat((middle - half, middle + half)).expand(len(images), len(centres), 4)
        logits = torch.full((len(images), len(centres)), -9.0)
        logits[images.amax(dim=(1, 2, 3)) > 0, 0] = 5.0
        maps = torch.zeros(len(images), 1, height // 4, width // 4)
        return RawProposals(logits, boxes, maps.expand(-1, 17, -1, -1), maps.expand(-1, 38, -1, -1))


class MiddlePeaks(torch.nn.Module):
    """Puts every keypoint into the middle of the crop."""

    def forward(self, crops):
        heatmaps = torch.zeros(len(crops), 17, crops.shape[2] // 4, crops.shape[3] // 4)
        heatmaps[..., heatmaps.shape[2] // 2, heatmaps.shape[3] // 2] = 0.8
        return (heatmaps,)


def pipeline_of(refiner=None, **options):
    config = PipelineConfig(detect=DetectConfig(detector_size=128), filtering=FilterConfig(**options), batch_frames=3)
    refiner = refiner or MiddlePeaks()
    return Pipeline(
        Proposer(OneBox(), get_spec("detposenet-tiny"), config.detect, CPU, min_peak_score=0.2),
        Refiner([(refiner, get_spec("prs-tiny"))], RefineConfig(), CPU),
        config,
        networks={"prs-tiny": refiner},
    )


def frame(index, *, value=200, size_wh=(128, 96)):
    image = None if value is None else torch.full((size_wh[1], size_wh[0], 3), value, dtype=torch.uint8)
    status = "decode_error" if value is None else "ok"
    return Frame(index=index, image=image, width=size_wh[0], height=size_wh[1], file_name=str(index), status=status)


@pytest.mark.parametrize("use_filter", [True, False])
def test_frames_keep_their_order_whatever_is_on_them(use_filter):
    frames = [frame(0), frame(1, value=0), frame(2, value=None), frame(3, size_wh=(256, 192)), frame(4)]

    done = list(pipeline_of(filter=use_filter).run(frames))

    assert [annotated.frame.index for annotated in done] == [0, 1, 2, 3, 4]
    assert [len(annotated.poses) for annotated in done] == [1, 0, 0, 1, 1]
    assert [annotated.refiner_runs for annotated in done] == [1, 0, 0, 1, 1]


def test_poses_lie_in_the_pixels_of_their_own_frame():
    small, large = pipeline_of().run([frame(0), frame(1, size_wh=(256, 192))])

    torch.testing.assert_close(small.poses.boxes, torch.tensor([[48.0, 16.0, 80.0, 80.0]]))
    torch.testing.assert_close(large.poses.boxes, 2 * small.poses.boxes)
    # a cell of the heatmap is 80 / 64 pixels of the small frame and twice that of the large one
    assert float((small.poses.keypoints - torch.tensor([63.5, 47.5])).abs().max()) < 1.3
    assert float((large.poses.keypoints - torch.tensor([127.5, 95.5])).abs().max()) < 2.6


def _too_small_for_more_than(network, most):
    """Let a network fail as on a device whose memory does for so many pictures."""

    def check(_, inputs):
        if len(inputs[0]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    network.register_forward_pre_hook(check)
    return network


def test_memory_that_runs_out_changes_batches_and_no_poses():
    frames = [frame(index) for index in range(7)]
    usual = [annotated.poses for annotated in pipeline_of().run(frames)]
    pipeline = pipeline_of(refiner=_too_small_for_more_than(MiddlePeaks(), 1))
    _too_small_for_more_than(pipeline.proposer.network, 2)

    poses = [annotated.poses for annotated in pipeline.run(frames)]

    for found, expected in zip(poses, usual, strict=True):
        torch.testing.assert_close(found.keypoints, expected.keypoints, rtol=0, atol=1e-4)
        torch.testing.assert_close(found.scores, expected.scores, rtol=0, atol=1e-5)
    assert pipeline.notes() == (
        "out of memory on cpu with 3 frames in a batch; went on with 1",
        "out of memory on cpu with 3 crops in a batch; went on with 1",
    )


@pytest.mark.parametrize("is_proposer", [True, False])
def test_memory_that_does_for_nothing_is_told_with_a_way_out(is_proposer):
    pipeline = pipeline_of()
    _too_small_for_more_than(pipeline.proposer.network if is_proposer else pipeline.networks["prs-tiny"], 0)

    with pytest.raises(DeviceError, match=r"out of memory on cpu with a batch of one \(CUDA out.*take a smaller --"):
        list(pipeline.run([frame(0)]))


@pytest.mark.weights
def test_a_network_averaged_with_itself_answers_as_alone():
    picture = torch.randint(0, 256, (96, 128, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    boxes = torch.tensor([[10.0, 5.0, 60.0, 90.0], [0.0, 0.0, 128.0, 96.0]])
    alone, _ = load_refiner(RefineConfig(), device="cpu")
    twice, _ = load_refiner(RefineConfig(refiner="prs-tiny+prs-tiny"), device="cpu")

    ((points, scores),) = alone([picture], [boxes], batch=4)
    ((points_twice, scores_twice),) = twice([picture], [boxes], batch=4)

    torch.testing.assert_close(points_twice, points, rtol=0, atol=1e-2)
    torch.testing.assert_close(scores_twice, scores, rtol=0, atol=1e-4)
    assert twice.config.subpixel == get_spec("prs-tiny").codec.subpixel


@pytest.mark.weights
def test_a_posefix_network_corrects_the_poses_and_is_recorded():
    config = PipelineConfig(refine=RefineConfig(posefix="posefix-r50"))

    pipeline = load_pipeline(config, device="cpu", allow_random=True)

    assert pipeline.weights["posefix-r50"] == RANDOM_WEIGHTS
    picture, boxes = torch.full((96, 128, 3), 90, dtype=torch.uint8), torch.tensor([[10.0, 5.0, 60.0, 90.0]])
    ((points, scores),) = pipeline.refiner([picture], [boxes], batch=1)
    uncorrected, _ = load_refiner(RefineConfig(), device="cpu")
    ((before, scores_before),) = uncorrected([picture], [boxes], batch=1)
    assert torch.isfinite(points).all()
    assert float((points - before).abs().max()) > 1e-3
    torch.testing.assert_close(scores, scores_before)


def test_the_record_says_what_the_precision_came_to(monkeypatch):
    monkeypatch.setattr("posecli.runtime._cpu_has_bf16", lambda: True)

    pipeline = load_pipeline(PipelineConfig(precision="auto"), device="cpu")
    (annotated,) = pipeline.run([frame(0, size_wh=(416, 256))])

    assert pipeline.provenance()["config"]["precision"] == "bf16"
    assert {type(network) for network in pipeline.networks.values()} == {Reduced}
    assert annotated.poses.keypoints.dtype == torch.float32


def test_unknown_precisions_are_refused():
    with pytest.raises(ConfigError, match="unknown precision 'int4'; choose from auto, fp32"):
        PipelineConfig(precision="int4")


@pytest.mark.weights
def test_several_devices_make_a_pipeline_with_replicas_whose_notes_are_said_once():
    config = PipelineConfig(refine=RefineConfig(posefix="posefix-r50"))

    pipeline = load_pipeline(config, device="cpu,cpu", allow_random=True)

    (replica,) = pipeline.replicas
    assert replica.config == pipeline.config
    assert replica.weights == pipeline.weights
    assert replica.refiner is not pipeline.refiner
    assert len(pipeline.notes()) == 1
