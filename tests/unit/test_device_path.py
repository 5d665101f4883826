"""What a GPU would have to wait for, looked for without one: on torch's meta device, which has shapes and no numbers.

Whatever reads a number of a meta tensor fails: `.item()`, `.tolist()`, `.cpu()`, masks, counts. The mode below also
finds what is sent there, a list of numbers, say, or an index. Only uploads and copies back of whole batches are let by.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache, partial

import pytest
import torch
from torch.overrides import TorchFunctionMode

from posecli import pipeline as pipeline_module
from posecli.config import DetectConfig, PipelineConfig, ReadConfig, RefineConfig
from posecli.geometry import constants
from posecli.networks import get_spec
from posecli.pipeline import Pipeline, load_pipeline
from posecli.records import Frame
from posecli.stages import detect, refine
from posecli.stages.detect import Proposer
from posecli.stages.refine import Refiner

META = torch.device("meta")
BATCH = 2  # frames


class NothingSent(TorchFunctionMode):
    """Fails at whatever brings numbers from the CPU to a device, and so waits for it."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.device.type == "meta":
            name = getattr(function, "__name__", str(function))
            assert name not in {"tensor", "as_tensor", "new_tensor"}, f"{name} makes a tensor of Python's numbers"
            for item in _leaves((args, kwargs)):
                assert not isinstance(item, torch.Tensor) or item.device.type == "meta" or not item.ndim, (
                    f"{name} takes a tensor of the CPU to the device"
                )
            indexes = args[1] if name in {"__getitem__", "__setitem__"} else ()
            assert not any(isinstance(index, list) for index in _items(indexes)), f"{name} has a list for an index"
        return result


def _items(value):
    return value if isinstance(value, tuple) else (value,)


def _leaves(value):
    if isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, dict):
        yield from _leaves(list(value.values()))
    else:
        yield value


class Link:
    """What goes between the CPU and the device, in order; answers with one sure box a picture."""

    def __init__(self):
        self.events = []

    def read_back(self, tensors, *, what):
        assert all(tensor.device == META and tensor.dtype == torch.float32 for tensor in tensors)
        number = sum(event == f"start {what}" for event, _ in self.events)
        self.events.append((f"start {what}", number))

        def wait():
            self.events.append((f"wait {what}", number))
            answers = [torch.full(tensor.shape, 0.9 if tensor.ndim == 2 else 0.0) for tensor in tensors]
            for answer in answers:
                if answer.shape[-1] == 4:
                    answer[:] = torch.tensor([40.0, 30.0, 90.0, 120.0])
            return answers

        return wait

    def send(self, tensor, device):
        self.events.append(("send", len(self.events)))
        with torch._C.DisableTorchFunction():
            return tensor.to(device)

    def uploader(self, device):
        def upload(images):
            self.events.append(("upload", len(self.events)))
            with torch._C.DisableTorchFunction():
                return [image.to(device) for image in images]

        return upload

    def count(self, what):
        return sum(event == what for event, _ in self.events)


@pytest.fixture
def link(monkeypatch):
    link = Link()
    monkeypatch.setattr(detect, "read_back", partial(link.read_back, what="proposals"))
    monkeypatch.setattr(refine, "read_back", partial(link.read_back, what="poses"))
    monkeypatch.setattr(refine, "send", link.send)
    monkeypatch.setattr(pipeline_module, "Uploader", link.uploader)
    return link


def frames(count, *, size_wh=(160, 120)):
    width, height = size_wh
    image = torch.zeros(height, width, 3, dtype=torch.uint8)
    return [Frame(index, image, width, height, f"{index}.png") for index in range(count)]


@cache
def built(name):
    with META:
        return get_spec(name).build().eval(), get_spec(name)


def pipeline_on_meta(*, proposer="detposenet-tiny", refiners=("prs-tiny",), posefix=None, **options):
    config = PipelineConfig(
        detect=DetectConfig(detector_size=128), refine=RefineConfig(**options), batch_frames=BATCH, batch_crops=3
    )
    posefix = built(posefix) if posefix else None
    return Pipeline(
        Proposer(*built(proposer), config.detect, META, min_peak_score=0.2),
        Refiner([built(name) for name in refiners], config.refine, META, posefix=posefix),
        config,
    )


@contextmanager
def warm(pipeline, frames):
    """Let a pipeline do once what it does once."""
    list(pipeline.run(frames))
    with NothingSent():
        yield


SEVERAL_VIEWS = {"flip_test": True, "flip_shift": 0.5, "scales": (1.0, 1.2), "rotations": (20.0,)}


@pytest.mark.parametrize(
    "options",
    [
        {},
        SEVERAL_VIEWS,
        {"subpixel": "dark", "blur": 11},
        {"subpixel": "paraboloid", "blur": 7, "blur_sigma": 1.5},
        {"refiners": ("hrnet-w32",)},
        {"refiners": ("prs-tiny", "simplebaseline-r50"), "refiner": "a+b"},
        {"posefix": "posefix-r50", "flip_test": True},
        {"proposer": "detposenet-base"},
    ],
    ids=["default", "views", "dark", "paraboloid", "hrnet", "two", "posefix", "two-stages"],
)
def test_the_device_waits_for_nothing_but_two_copies_back_a_batch(link, options):
    pipeline, given = pipeline_on_meta(**options), frames(BATCH)

    with warm(pipeline, given):
        link.events.clear()
        done = list(pipeline.run(given))

    assert [len(annotated.poses) for annotated in done] == [1] * BATCH
    assert [link.count(what) for what in ("upload", "send", "start proposals", "start poses")] == [1, 1, 1, 1]


@pytest.mark.parametrize("wrong", [
    lambda maps: float(maps.max()),
    lambda maps: maps[maps > 0.5],
    lambda maps: maps.nonzero(),
    lambda maps: maps.amax(dim=(1, 2, 3)).tolist(),
    lambda maps: maps - maps.new_tensor((1.0, 2.0)).sum(),
    lambda maps: maps[:, [1, 0]],
    lambda maps: maps * torch.ones(maps.shape[-1]).to(maps.device),
    lambda maps: torch.linalg.inv(maps[..., :2, :2]).item(),
])  # fmt: skip
def test_a_device_that_is_made_to_wait_is_found(link, wrong):
    pipeline = pipeline_on_meta()
    given = frames(BATCH)

    with warm(pipeline, given):
        network = pipeline.refiner._views[0].network
        spoilt = network.register_forward_hook(lambda *call: wrong(call[-1][-1]) and None)
        try:
            with pytest.raises((RuntimeError, NotImplementedError, AssertionError)):
                list(pipeline.run(given))
        finally:
            spoilt.remove()


def test_batches_are_on_the_device_while_the_cpu_waits_for_those_before(link):
    list(pipeline_on_meta().run(frames(4 * BATCH)))

    place = {event: index for index, event in enumerate(link.events)}
    for number in range(3):
        assert place["start proposals", number + 1] < place["wait proposals", number]
        assert place["start poses", number + 1] < place["wait poses", number]
    for number in range(2):
        assert place["start proposals", number + 2] < place["wait poses", number]


def test_what_goes_wrong_with_a_later_batch_comes_after_the_earlier_ones(link):
    def broken():
        yield from frames(2 * BATCH)
        raise OSError("the disk is gone")

    items = pipeline_on_meta().run(broken())

    assert [next(items).frame.index for _ in range(2 * BATCH)] == [0, 1, 2, 3]
    with pytest.raises(OSError, match="the disk is gone"):
        next(items)


def test_tables_that_were_sent_once_can_be_trained_with():
    constants._tensor.cache_clear()
    weights = torch.ones(2, requires_grad=True)
    with torch.inference_mode():
        constants.constant((2.0, 3.0), like=weights)

    (weights * constants.constant((2.0, 3.0), like=weights)).sum().backward()

    assert weights.grad.tolist() == [2.0, 3.0]


@pytest.mark.weights
def test_the_devices_way_finds_the_people_of_the_cpus_way(monkeypatch, examples):
    from posecli.media.sources import open_source

    with open_source(examples / "walkers.mp4", ReadConfig(start=1.0, max_frames=6)) as source:
        given = list(source)
    pipeline = load_pipeline(PipelineConfig(), device="cpu")
    expected = list(pipeline.run(given))

    for module in (refine, pipeline_module):
        monkeypatch.setattr(module, "has_own_memory", lambda _: True)
    found = list(pipeline.run(given))

    assert sum(len(annotated.poses) for annotated in expected) > 6
    for one, other in zip(found, expected, strict=True):
        assert one.frame.index == other.frame.index
        torch.testing.assert_close(one.poses.keypoints, other.poses.keypoints, rtol=0, atol=0.05)
        torch.testing.assert_close(one.poses.keypoint_scores, other.poses.keypoint_scores, rtol=0, atol=1e-3)
