"""Networks with public weights answer what the public code answers, and every public name has its place."""

from __future__ import annotations

import json
import re
from functools import cache, partial
from pathlib import Path

import pytest
import torch

import public_code
from posecli.networks import available, fuse_batch_norm, get_spec, load_network
from posecli.networks._foreign import fit, own_tensors, translate
from posecli.networks._layouts import LAYOUTS
from posecli.networks._resnet import ResNet
from posecli.networks._weights import WeightsFile, fill
from posecli.networks.hourglass import StackedHourglass
from posecli.networks.hourglass52 import Hourglass52
from posecli.networks.hrnet import HRNet
from posecli.networks.simplebaseline import SimpleBaseline
from public_code import MmposeMspn, Mspn, OldMmposeMspn, Public

PREFIXED = ({}, {"body": "backbone.", "head": "keypoint_head."}, {"body": "backbone.", "head": "head."})
KEYS = Path(__file__).parents[2].parent / "shared" / "foreign_keys"
REAL = {  # our network: the public code's list of keys, the code at that size
    "simplebaseline-r50": ("simplebaseline_r50_256x192", partial(public_code.simplebaseline, blocks=(3, 4, 6, 3))),
    "simplebaseline-r152": ("simplebaseline_r152_256x192", partial(public_code.simplebaseline, blocks=(3, 8, 36, 3))),
    "hrnet-w32": ("hrnet_w32_256x192", partial(public_code.hrnet, width=32)),
    "hrnet-w48-384x288": ("hrnet_w48_384x288", partial(public_code.hrnet, width=48)),
    "mspn-1": ("mspn_1stg_256x192", partial(public_code.mspn, stages=1)),
    "mspn-4": ("mspn_4stg_256x192", partial(public_code.mspn, stages=4)),
    "fasterrcnn-r50-fpn": ("fasterrcnn_resnet50_fpn", public_code.faster_rcnn),
    "hourglass-8": ("hourglass8_princeton_256x192", partial(public_code.hourglass, stacks=8)),
}


def layout_of(family, name):
    return next(layout for layout in LAYOUTS if layout.family == family and layout.name == name)


def unfilled(name):
    """Build a network without the time that random numbers take."""
    with torch.device("meta"):
        return get_spec(name).build().to_empty(device="cpu")


@cache
def names_and_shapes(name):
    """Return the public tensors of a network at full size, without memory."""
    public = Public(device="meta")
    REAL[name][1](public, torch.empty(1, 3, 64, 64, device="meta"))
    return public


def ours(network, tensors, layout):
    """Put public tensors into a network of ours, ready for inference."""
    own = {key: value for key, value in network.state_dict().items() if not key.endswith("num_batches_tracked")}
    fill(network, translate(tensors, own, layout, where="file", name="network")[0], where="file", name="network")
    return fuse_batch_norm(network.eval())


@torch.inference_mode()
def assert_same_answers(network, expected, images):
    assert_close(network(images), expected)


def assert_close(actual, expected):
    """Compare every output at 1e-4 of its standard deviation."""
    assert len(actual) == len(expected)
    for answer, wanted in zip(actual, expected, strict=True):
        assert answer.shape == wanted.shape
        assert wanted.std() > 1e-3  # something to compare
        assert (answer - wanted).abs().max() < 1e-4 * wanted.std()


@pytest.mark.parametrize("names", PREFIXED)
def test_simplebaseline_answers_as_its_code(names):
    public, images = Public(), torch.rand(1, 3, 64, 96)
    blocks = (2, 1, 2, 1)
    expected = public_code.simplebaseline(public, images, blocks=blocks, width=16, keypoints=5, **names)

    network = ours(
        SimpleBaseline(partial(ResNet, blocks), width=16, keypoints=5),
        public,
        layout_of("simplebaseline-", "mmpose" if names else "official"),
    )

    assert_same_answers(network, expected, images)


@pytest.mark.parametrize("names", PREFIXED)
def test_hrnet_answers_as_its_code(names):
    public, images = Public(), torch.rand(1, 3, 64, 96)
    expected = public_code.hrnet(public, images, width=4, keypoints=5, **names)

    network = ours(HRNet(4, keypoints=5), public, layout_of("hrnet-", "mmpose" if names else "official"))

    assert_same_answers(network, expected, images)


@pytest.mark.parametrize(("names", "stages"), [(Mspn, 2), (MmposeMspn, 1), (OldMmposeMspn, 2)])
def test_mspn_answers_as_its_code(names, stages):
    public, images = Public(), torch.rand(1, 3, 64, 64)
    expected = public_code.mspn(public, images, stages=stages, names=names)

    layout = layout_of("mspn-", "official" if names is Mspn else "mmpose")
    network = ours(unfilled(f"mspn-{stages}"), public, layout)

    assert_same_answers(network, expected, images)


def test_hourglasses_answer_as_their_code():
    public, images = Public(), torch.rand(1, 3, 64, 128)
    expected = public_code.hourglass(public, images, stacks=2, width=16, keypoints=5)

    network = ours(StackedHourglass(2, width=16, keypoints=5), public, layout_of("hourglass-", "official"))

    assert_same_answers(network, expected, images)


@pytest.mark.parametrize("head", ["head.", "keypoint_head."])
def test_hourglass52_answers_as_its_code(head):
    public, images = Public(), torch.rand(1, 3, 32, 64)
    size = {"channels": (16, 16, 24, 32), "blocks": (2, 2, 1, 3), "keypoints": 5}
    expected = public_code.hourglass52(public, images, head=head, **size)

    network = ours(Hourglass52(**size), public, layout_of("hourglass-52", "mmpose"))

    assert_same_answers(network, expected, images)


@torch.inference_mode()
def test_faster_rcnn_sees_what_torchvisions_sees():
    public, images = Public(), torch.rand(1, 3, 64, 96)
    levels, proposals = public_code.faster_rcnn(public, images)

    network = ours(unfilled("fasterrcnn-r50-fpn"), public, layout_of("fasterrcnn-r50-fpn", "torchvision"))

    actual = network.fpn(network.trunk(images))
    assert_close([*actual], levels)
    scores, shifts = zip(*(network.rpn(level) for level in levels), strict=True)
    anchors_last = [
        [maps.permute(0, 2, 3, 1).reshape(1, -1, width) for maps, width in zip(pair, (1, 4), strict=True)]
        for pair in proposals
    ]
    assert_close([score[..., None] for score in scores], [score for score, _ in anchors_last])
    assert_close(shifts, [shift for _, shift in anchors_last])
    features = torch.rand(5, 256, 7, 7)
    assert_close(network.head(features), public_code.faster_rcnn_box_head(public, features))


@pytest.mark.parametrize("name", REAL)
def test_the_code_at_full_size_has_the_public_names_and_shapes(name):
    if not KEYS.is_dir():
        pytest.skip("the public lists of keys beside the checkout are not there")
    listed = {key: tuple(shape) for key, shape, _ in json.loads((KEYS / f"keys_{REAL[name][0]}.json").read_text())}

    assert {key: tuple(tensor.shape) for key, tensor in names_and_shapes(name).items()} == listed


@pytest.mark.parametrize("name", REAL)
def test_every_public_name_and_shape_has_its_place(name):
    public = names_and_shapes(name)

    fitted = fit(WeightsFile(Path("file.pth"), dict(public)), get_spec(name))

    assert fitted.tensors.keys() == own_tensors(get_spec(name)).keys()
    counters = sum(key.endswith("num_batches_tracked") for key in public)
    assert sum(fitted.dropped.values()) == counters
    assert len(public) == len(fitted.tensors) + counters


def test_torchvisions_older_names_have_their_place_too():
    name = "fasterrcnn-r50-fpn"
    old = {
        key.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        if "rpn" in key
        else re.sub(r"(_blocks\.\d)\.0\.", r"\1.", key)
        for key in names_and_shapes(name)
    }
    layout = layout_of(name, "torchvision")

    assert "backbone.fpn.inner_blocks.0.weight" in old
    assert {layout.rename(key) for key in old} == own_tensors(get_spec(name)).keys()


def test_a_public_file_loads_through_the_door(tmp_path):
    public, images = Public(), torch.rand(1, 3, 64, 64)
    expected = public_code.hrnet(public, images, body="backbone.", head="head.")
    torch.save({"meta": {"epoch": 210}, "state_dict": dict(public)}, tmp_path / "hrnet.pth")

    network, spec = load_network("hrnet-w32", weights=tmp_path / "hrnet.pth")

    assert not spec.bgr
    assert_same_answers(network, expected, images)


def test_every_layout_is_of_a_network_that_we_have():
    assert [
        layout.family for layout in LAYOUTS if not any(name.startswith(layout.family) for name in available())
    ] == []
