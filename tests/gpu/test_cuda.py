"""The whole way on a CUDA device: the same people as on the CPU, no waiting, and memory that runs out.

None of it can be seen without a GPU; `examples/gpu_check.py` runs it beside measurements where there is one.
"""

from __future__ import annotations

import gc
import json
from contextlib import contextmanager

import pytest
import torch

from posecli.config import PipelineConfig, ReadConfig, RefineConfig
from posecli.media.sources import open_source
from posecli.pipeline import load_pipeline
from posecli.runtime import Uploader, read_back, send

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
CUDA = torch.device("cuda:0")


@contextmanager
def waiting_is_an_error():
    torch.cuda.synchronize()
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


@pytest.fixture
def frames(examples):
    with open_source(examples / "walkers.mp4", ReadConfig(start=1.0, max_frames=24)) as source:
        return list(source)


OPTIONS = {
    "default": {},
    "views": {"flip_test": True, "scales": (1.0, 1.2), "rotations": (0.0, 20.0)},
    "dark": {"subpixel": "dark", "blur": 11},
    "hrnet": {"refiner": "hrnet-w32"},
}


@pytest.mark.weights
@pytest.mark.parametrize("name", OPTIONS)
def test_nothing_in_the_loop_waits_for_the_device(frames, name):
    config = PipelineConfig(refine=RefineConfig(**OPTIONS[name]))
    pipeline = load_pipeline(config, device="cuda", allow_random=True)
    expected = list(pipeline.run(frames))

    with waiting_is_an_error():
        found = list(pipeline.run(frames))

    assert [len(one.poses) for one in found] == [len(one.poses) for one in expected]
    assert sum(one.refiner_runs for one in found) > 24


def test_waiting_is_an_error_where_it_should_be():
    numbers = torch.rand(4, device=CUDA)

    with waiting_is_an_error(), pytest.raises(RuntimeError, match="synchroniz"):
        numbers.max().item()


@pytest.mark.weights
@pytest.mark.parametrize("name", ["default", "views", "dark"])
def test_the_device_finds_the_people_that_the_cpu_finds(frames, name):
    config = PipelineConfig(refine=RefineConfig(**OPTIONS[name]))
    here = list(load_pipeline(config, device="cpu").run(frames))
    there = list(load_pipeline(config, device="cuda").run(frames))

    # rounding may turn a threshold's decision over a faint person, and a heatmap's top to a cell that is as high
    same = [
        (one.poses, other.poses) for one, other in zip(here, there, strict=True) if len(one.poses) == len(other.poses)
    ]
    assert len(same) >= 0.9 * len(frames)
    away = torch.cat([(one.keypoints - other.keypoints).abs().amax(dim=-1).flatten() for one, other in same])
    assert away.numel() > 24 * 17
    assert float((away < 1.0).float().mean()) > 0.97


@pytest.mark.weights
def test_memory_that_runs_out_is_gone_on_without(frames):
    pipeline = load_pipeline(PipelineConfig(batch_frames=24, batch_crops=64), device="cuda")
    torch.cuda.reset_peak_memory_stats(CUDA)
    expected = [len(one.poses) for one in pipeline.run(frames)]
    gc.collect()
    torch.cuda.empty_cache()
    held, peak = torch.cuda.memory_reserved(CUDA), torch.cuda.max_memory_reserved(CUDA)
    total = torch.cuda.get_device_properties(CUDA).total_memory
    torch.cuda.set_per_process_memory_fraction((held + (peak - held) / 3) / total, CUDA)
    try:
        found = [len(one.poses) for one in pipeline.run(frames)]
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, CUDA)

    assert sum(abs(one - other) for one, other in zip(found, expected, strict=True)) <= 2
    assert any("out of memory on cuda" in note for note in pipeline.notes())


@pytest.mark.weights
def test_device_memory_does_not_grow_with_the_video(frames):
    pipeline = load_pipeline(PipelineConfig(), device="cuda")
    list(pipeline.run(frames))
    torch.cuda.reset_peak_memory_stats(CUDA)
    list(pipeline.run(frames))
    once = torch.cuda.max_memory_allocated(CUDA)

    list(pipeline.run(frames * 5))

    assert torch.cuda.max_memory_allocated(CUDA) <= 1.1 * once


def test_pictures_arrive_whole_however_often_the_buffers_are_used():
    upload = Uploader(CUDA, buffers=2)
    generator = torch.Generator().manual_seed(0)
    arrived, sent = [], []
    for number in range(12):
        images = [
            torch.randint(0, 256, (100 + 40 * number, 300, 3), generator=generator, dtype=torch.uint8)
            for _ in range(1 + number % 3)
        ]
        there = upload(images)
        torch.cuda._sleep(10_000_000)  # the device is busy: a buffer that is filled too early would show
        arrived += [image.clone() for image in there]
        sent += images

    assert all(torch.equal(image.cpu(), original) for image, original in zip(arrived, sent, strict=True))


def test_numbers_come_and_go_in_one_copy_without_waiting():
    tensors = [torch.rand(3, 4), torch.rand(7), torch.rand(2, 0, 5)]

    with waiting_is_an_error():
        there = [send(tensor, CUDA) for tensor in tensors]
        reading = read_back([2 * tensor for tensor in there])
        found = reading()

    torch.testing.assert_close(found, [2 * tensor for tensor in tensors], rtol=0, atol=0)


@pytest.mark.weights
def test_the_command_uses_the_device(examples, tmp_path):
    from click.testing import CliRunner

    from posecli.cli import main

    result = CliRunner().invoke(
        main, ["infer", str(examples / "walkers.mp4"), "-o", str(tmp_path), "--device", "cuda", "--no-overlay"]
    )

    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "run.json").read_text())["sources"][0]["people"] > 100


def test_the_cards_decoder_shows_the_same_pictures(examples):
    with open_source(examples / "walkers.mp4", ReadConfig(max_frames=20, hwaccel="cuda")) as source:
        there = list(source)
        if remarks := source.remarks():
            pytest.skip(remarks[0])
    with open_source(examples / "walkers.mp4", ReadConfig(max_frames=20)) as source:
        here = list(source)

    assert [frame.pts for frame in there] == [frame.pts for frame in here]
    for one, other in zip(there, here, strict=True):
        assert float((one.image.float() - other.image.float()).abs().mean()) < 2
