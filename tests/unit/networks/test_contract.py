"""What every network of the zoo promises; a new file is covered the moment it exists.

Where values do not matter the networks live on the meta device, which computes shapes alone. Where they do, the first
network of each file stands for all of them.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from posecli.networks import available, fuse_batch_norm, hourglass
from posecli.skeleton import EDGES, NUM_KEYPOINTS

SPECS = list(available().values())
REFINERS = [spec for spec in SPECS if spec.kind == "refiner"]
PROPOSERS = [spec for spec in SPECS if spec.kind == "proposer"]
DETECTORS = [spec for spec in SPECS if spec.kind == "detector"]


def on_meta(spec):
    with torch.device("meta"):
        return spec.build()


def arguments(spec, *, batch, hw, device="cpu"):
    """Random inputs of a network: pictures, and for one that refines poses their heatmaps too."""
    images = torch.rand(batch, 3, *hw, device=device)
    return (images, torch.rand(batch, NUM_KEYPOINTS, *hw, device=device)) if spec.takes_prior else (images,)


def without_gradient(network):
    """Names of the weights that a backward pass missed, less those that hourglasses own and never use."""
    blocks = [module for module in network.modules() if isinstance(module, hourglass.Block) and module.keeps_width]
    unused = {id(weight) for block in blocks for weight in block.shortcut.parameters()}
    return [name for name, weight in network.named_parameters() if weight.grad is None and id(weight) not in unused]


def answers(raw):
    """The tensors that a refiner or a proposer returns."""
    if isinstance(raw, tuple):
        return raw
    first_stage = (raw.regions.logits, raw.regions.shifts) if raw.regions else ()
    return (raw.logits, raw.boxes, raw.heatmaps, raw.pafs, *first_stage)


def first_of_each_file(specs):
    """One network of each file, the one it names first."""
    families = {}
    for spec in specs:
        families.setdefault(getattr(spec.build, "func", spec.build).__module__, []).append(spec)
    return [members[0] for members in families.values()]


FIRST = first_of_each_file([*REFINERS, *PROPOSERS])


def small_hw(spec):
    height, width = spec.input_hw
    return (128, 128 * width // height) if spec.kind == "refiner" else (96, 128)


def lively(network):
    """Give a network weights that neither lose nor blow up a signal, and batch norms that are not the identity."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.8, 1.25)
            nn.init.uniform_(module.weight, 0.6, 0.8)
            nn.init.normal_(module.bias, 0, 0.1)
    return network.eval()


def by_name(specs):
    return pytest.mark.parametrize("spec", specs, ids=lambda spec: spec.name)


def assert_promised_shapes(stages, spec):
    height, width = spec.input_hw
    for stage in stages:
        assert stage.shape[1] == NUM_KEYPOINTS
        assert height / stage.shape[2] == width / stage.shape[3]
    assert [stage.shape[2] for stage in stages] == sorted(stage.shape[2] for stage in stages)
    assert stages[-1].shape[2:] == (height // spec.codec.stride, width // spec.codec.stride)
    assert len(spec.target_sigmas) in {0, len(stages)}


@by_name(REFINERS)
def test_refiner_answers_coarse_first_and_gradients_reach_every_weight_that_learns(spec):
    network = on_meta(spec).train()

    stages = network(*arguments(spec, batch=2, hw=spec.input_hw, device="meta"))
    sum(stage.square().mean() for stage in stages).backward()

    assert all(len(stage) == 2 for stage in stages)
    assert_promised_shapes(stages, spec)
    assert not without_gradient(network)


@by_name(REFINERS)
def test_refiner_answers_coarse_first_for_one_crop(spec):
    with torch.no_grad():
        stages = on_meta(spec).eval()(*arguments(spec, batch=1, hw=spec.input_hw, device="meta"))

    assert all(len(stage) == 1 for stage in stages)
    assert_promised_shapes(stages, spec)


@by_name(PROPOSERS)
def test_proposer_answers_with_boxes_and_maps_and_gradients_reach_every_weight(spec):
    network = on_meta(spec).train()

    raw = network(torch.rand(1, 3, 96, 128, device="meta"))
    sum(answer.square().mean() for answer in answers(raw)).backward()

    cells = sum((96 // stride) * (128 // stride) for stride in (8, 16, 32))
    assert raw.logits.shape == (1, 100 if raw.regions else cells)
    assert raw.boxes.shape == (*raw.logits.shape, 4)
    assert raw.heatmaps.shape == (1, NUM_KEYPOINTS, 24, 32)
    assert raw.pafs.shape == (1, 2 * len(EDGES), 24, 32)
    assert not without_gradient(network)


@by_name([*REFINERS, *PROPOSERS])
def test_sides_that_cannot_be_halved_are_refused_by_the_multiple_wanted(spec):
    network = on_meta(spec).eval()

    with torch.no_grad(), pytest.raises(ValueError, match=r"got images of 250x190, wants sides that are multiples of"):
        network(*arguments(spec, batch=1, hw=(250, 190), device="meta"))


@by_name(FIRST)
def test_one_crop_alone_folding_and_bfloat16_give_the_same_answer(spec):
    torch.manual_seed(0)
    network, inputs = lively(spec.build()), arguments(spec, batch=2, hw=small_hw(spec))

    with torch.no_grad():
        plain = answers(network(*inputs))
        single = answers(network(*(value[:1] for value in inputs)))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = answers(network(*inputs))
        folded = answers(fuse_batch_norm(network)(*inputs))

    for expected, alone, coarse, fused in zip(plain, single, half, folded, strict=True):
        scale = float(expected.abs().max())
        assert expected.std() > 0.01 * scale > 0  # not a constant: else the comparisons would mean nothing
        torch.testing.assert_close(alone, expected[:1], rtol=1e-3, atol=1e-5 * scale)
        torch.testing.assert_close(fused, expected, rtol=1e-3, atol=1e-4 * scale)  # folded weights are rounded again
        assert (coarse.float() - expected).square().mean().sqrt() < 0.02 * scale  # eight bits, many layers


@by_name(DETECTORS)
def test_detector_answers_for_every_picture(spec):
    network = spec.build().eval()

    with torch.inference_mode():
        found = network(torch.rand(2, 3, 32, 1333))  # so long that no detector enlarges it

    assert len(found) == 2
    for boxes, scores in found:
        assert boxes.shape == (len(scores), 4)


@by_name(SPECS)
def test_spec_names_its_source_and_a_size_it_can_take(spec):
    assert spec.kind in {"refiner", "proposer", "detector"}
    assert spec.source
    assert all(side % 32 == 0 for side in spec.input_hw)
    assert (spec.reported_ap is None) == (not spec.reported_on)
    assert spec.name.endswith("-384x288") == (spec.input_hw == (384, 288))


def test_names_are_unique():
    names = [spec.name for spec in SPECS]
    assert len(names) == len(set(names))
