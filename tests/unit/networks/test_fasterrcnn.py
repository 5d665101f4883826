"""Faster R-CNN's own steps, each against the words of its sources; the parts have their tests in geometry."""

from __future__ import annotations

import json
import math

import pytest
import torch

from posecli.geometry.boxes import hard_nms
from posecli.geometry.roi import shift_boxes
from posecli.networks import fasterrcnn, get_spec
from posecli.networks._count import count_params
from posecli.networks._rcnn import FeaturePyramid, RegionHead, pool


@pytest.fixture(scope="module")
def shapes():
    """Names and shapes of the weights, without memory for them; a batch norm's counter is never read."""
    with torch.device("meta"):
        network = get_spec("fasterrcnn-r50-fpn").build()
    state = network.state_dict()
    return count_params(network), {
        name: list(value.shape) for name, value in state.items() if "num_batches" not in name
    }


def test_it_is_as_large_as_torchvisions(shapes):
    params, own = shapes

    assert params == 41_755_286
    assert len(own) == 295


def test_it_has_torchvisions_shapes_in_torchvisions_order(shapes, shared_data):
    listed = json.loads((shared_data.parent / "foreign_keys/keys_fasterrcnn_resnet50_fpn.json").read_text())
    _, own = shapes
    # blocks with a shortcut list it before or after; everything else has one order
    expected = sorted((shape for _, shape, _ in listed), key=str)

    assert sorted(own.values(), key=str) == expected
    parts = {"fpn": "backbone.fpn", "rpn": "rpn.head", "head": "roi_heads"}
    for ours, theirs in parts.items():
        mine = [shape for name, shape in own.items() if name.startswith(ours + ".")]
        assert mine == [shape for name, shape, _ in listed if name.startswith(theirs)]


def test_norms_are_frozen(shapes):
    trunk = fasterrcnn.FasterRCNN().train().trunk
    norm = trunk.stem.bn
    images = torch.rand(1, 3, 32, 32)

    trunk(images)

    assert (norm.eps, norm.training, list(norm.parameters())) == (0.0, False, [])
    assert norm.running_mean.abs().max() == 0


@pytest.mark.parametrize(
    ("size_hw", "resized_hw"),
    [((480, 640), (800, 1066)), ((640, 427), (1199, 800)), ((100, 1000), (133, 1333)), ((800, 800), (800, 800))],
)
def test_pictures_get_a_short_side_of_800_unless_the_long_one_passes_1333(size_hw, resized_hw):
    inputs, sizes = fasterrcnn._prepare([torch.rand(3, *size_hw)])

    assert sizes == [resized_hw]
    assert inputs.shape[-2:] == tuple(math.ceil(side / 32) * 32 for side in resized_hw)
    assert inputs[0, :, resized_hw[0] :].abs().sum() + inputs[0, :, :, resized_hw[1] :].abs().sum() == 0


def test_pictures_of_several_sizes_share_a_batch():
    tall, wide = torch.rand(3, 160, 100), torch.rand(3, 100, 160)

    both, sizes = fasterrcnn._prepare([tall, wide])

    assert both.shape == (2, 3, 1280, 1280)
    assert sizes == [(1280, 800), (800, 1280)]
    alone, _ = fasterrcnn._prepare([wide])
    torch.testing.assert_close(both[1:, :, :800, :1280], alone)


def slow_people(boxes, logits, shifts, size_hw):
    """One class after the other, one box after the other."""
    things = []
    for kind in range(1, 91):
        scores = logits.softmax(dim=1)[:, kind]
        moved = shift_boxes(boxes, shifts[:, kind], weights=(10.0, 5.0))
        limit = torch.tensor([size_hw[1], size_hw[0]] * 2)
        moved = torch.minimum(moved.clamp(min=0), limit)
        use = (scores > 0.05) & ((moved[:, 2:] - moved[:, :2]) >= 0.01).all(dim=1)
        for index in hard_nms(moved[use], scores[use], max_iou=0.5).tolist():
            things.append((float(scores[use][index]), kind, moved[use][index].tolist()))
    best = sorted(things, reverse=True)[:100]
    return [(score, box) for score, kind, box in best if kind == 1]


def test_people_are_among_the_best_hundred_things_of_any_kind():
    corner = torch.rand(300, 2) * 300
    boxes = torch.cat((corner, corner + 20 + torch.rand(300, 2) * 80), dim=1)
    logits = torch.randn(300, 91)
    logits[:, 1:4] += 4  # people, bicycles and cars compete
    shifts = torch.randn(300, 91, 4)
    expected = slow_people(boxes, logits, shifts, (300, 350))

    people, scores = fasterrcnn._people(boxes, logits, shifts, (300, 350))

    assert 5 < len(expected) < 90
    torch.testing.assert_close(scores, torch.tensor([score for score, _ in expected]))
    torch.testing.assert_close(people, torch.tensor([box for _, box in expected]))


def test_nobody_is_found_where_nothing_is_sure():
    people, scores = fasterrcnn._people(torch.rand(5, 4) * 9, torch.zeros(5, 91), torch.zeros(5, 91, 4), (9, 9))

    assert (people.shape, scores.shape) == ((0, 4), (0,))


def test_large_boxes_are_pooled_from_coarse_features():
    levels = [torch.full((2, 1, 64 >> number, 64 >> number), float(number)) for number in range(4)]
    sides = torch.tensor([20.0, 111.9, 112.0, 223.9, 224.0, 447.9, 448.0, 2000.0])
    boxes = torch.stack((sides * 0, sides * 0, sides, sides), dim=1)

    pooled = pool(levels, boxes, torch.zeros(8).long(), first_stride=4)

    assert pooled[:, 0, 0, 0].round().tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_boxes_are_pooled_on_their_own_picture():
    level = torch.rand(3, 2, 16, 16)
    boxes, pictures = torch.tensor([[8.0, 8, 40, 40]] * 3), torch.tensor([2, 0, 1])

    pooled = pool([level], boxes, pictures, first_stride=4)

    own = [
        pool([level[index : index + 1]], boxes[:1], torch.zeros(1).long(), first_stride=4)
        for index in pictures.tolist()
    ]
    torch.testing.assert_close(pooled, torch.cat(own))
    assert not torch.equal(pooled[0], pooled[1])


def test_the_pyramid_adds_the_coarser_to_the_finer():
    pyramid = FeaturePyramid((4, 8), width=6)
    fine, coarse = torch.rand(1, 4, 6, 10), torch.rand(1, 8, 3, 5)

    levels = pyramid((fine, coarse))

    above = pyramid.lateral[1](coarse)
    wanted = pyramid.lateral[0](fine) + above.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(levels[0], pyramid.output[0](wanted))
    torch.testing.assert_close(levels[1], pyramid.output[1](above))
    assert levels[2].shape == (1, 6, 2, 3)  # every second of 3 x 5


def test_the_region_head_orders_anchors_by_row_column_and_shape():
    head = RegionHead(4, anchors=3).requires_grad_(False)
    x = torch.rand(2, 4, 5, 6)

    logits, shifts = head(x)

    hidden = torch.relu(head.conv(x))
    assert float(logits[1, (2 * 6 + 4) * 3 + 1]) == pytest.approx(float(head.score(hidden)[1, 1, 2, 4]))
    torch.testing.assert_close(shifts[1, (2 * 6 + 4) * 3 + 1], head.shift(hidden)[1, 4:8, 2, 4])


def test_a_strong_region_becomes_a_person_in_the_pictures_own_pixels(monkeypatch):
    """The whole way on a trunk that costs nothing, and heads that believe in one place."""
    network = fasterrcnn.FasterRCNN.__new__(fasterrcnn.FasterRCNN)
    torch.nn.Module.__init__(network)
    network.trunk = lambda images: [
        torch.zeros(len(images), 1, *(side // s for side in images.shape[2:])) for s in (4, 8, 16, 32)
    ]
    network.fpn = lambda features: [*features, features[-1][..., ::2, ::2]]

    def believe(features):
        count, _, height, width = features.shape
        logits = torch.full((count, height, width, 3), -9.0)
        if (height, width) == (25, 34):  # stride 32: anchors of 256 pixels
            logits[:, 12, 16, 1] = 9.0
        return logits.view(count, -1), torch.zeros(count, height * width * 3, 4)

    def judge(pooled):
        logits = torch.zeros(len(pooled), 91)
        logits[0, 1] = 12.0  # the best region
        return logits, torch.zeros(len(pooled), 91, 4)

    network.rpn, network.head = believe, judge

    ((boxes, scores),) = network([torch.zeros(3, 400, 533, dtype=torch.uint8)])

    assert boxes.shape == (1, 4)
    assert float(scores[0]) > 0.99
    # 400 x 533 becomes 800 x 1066; the anchor around (512, 384) there has sides of 256
    torch.testing.assert_close(boxes, torch.tensor([[192.0, 128.0, 320.0, 256.0]]))


def test_no_pictures_give_no_boxes():
    assert fasterrcnn.FasterRCNN.forward(None, []) == []
