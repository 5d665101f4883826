"""Boxes of any source reach the filter in one shape, with or without the maps to judge them by."""

from __future__ import annotations

import json

import pytest
import torch

from posecli.config import DetectConfig, FilterConfig
from posecli.media.boxes import BoxFile
from posecli.networks import get_spec
from posecli.records import CoarsePeaks, Frame, Proposals
from posecli.stages.coarse_filter import filter_proposals
from posecli.stages.detect import Detector, JudgedBoxes, Proposer, choose

CPU = torch.device("cpu")


def frame(index, value=100, *, height=48, width=64):
    image = torch.full((height, width, 3), value, dtype=torch.uint8)
    return Frame(index=index, image=image, width=width, height=height, file_name=f"{index}.jpg")


class BrightestCorner(torch.nn.Module):
    """Finds one box that is as wide as the picture is bright, in pictures of any size."""

    def forward(self, images):
        assert all((image.shape[0], image.dtype) == (3, torch.uint8) for image in images)
        widths = [float(image.max()) / 255 * image.shape[2] for image in images]
        return [(torch.tensor([[0.0, 0.0, width, 20.0]]), torch.tensor([0.9])) for width in widths]


class Peaks:
    """Sees the same coarse keypoints on every frame; remembers which it was shown."""

    batches = ()

    def __init__(self):
        self.seen = []

    def start(self, frames):
        self.seen.extend(frame.index for frame in frames)
        coarse = CoarsePeaks(torch.ones(17, 2, 2), torch.ones(17, 2), torch.ones(19, 2, 2), 4.0)
        return lambda: [Proposals(torch.zeros(0, 4), torch.zeros(0), coarse) for _ in frames]


def test_choose_takes_sure_boxes_best_first_and_cuts_them_at_the_edges():
    boxes = torch.tensor([[0.0, 0, 9, 9], [-5, -5, 300, 20], [3, 3, 3.5, 9], [1, 1, 30, 30], [2, 2, 8, 8]])
    scores = torch.tensor([0.05, 0.5, 0.9, 0.8, 0.6])

    chosen, chosen_scores = choose(boxes, scores, DetectConfig(max_proposals=4), image_wh=(64, 48))

    # the first is unsure, the third too thin
    assert chosen.tolist() == [[1, 1, 30, 30], [2, 2, 8, 8], [0, 0, 64, 20]]
    torch.testing.assert_close(chosen_scores, torch.tensor([0.8, 0.6, 0.5]))


def test_a_detectors_boxes_come_with_another_networks_maps():
    source = JudgedBoxes(Detector(BrightestCorner(), CPU), Peaks(), DetectConfig())

    small, large = source([frame(0, 255), frame(1, 102, width=100)])

    assert small.boxes.tolist() == [[0, 0, 64, 20]]
    torch.testing.assert_close(large.boxes, torch.tensor([[0.0, 0, 40, 20]]))
    assert small.coarse.peaks.shape == (17, 2, 2)


def test_without_a_proposal_network_there_are_no_maps(tmp_path):
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps([{"image_id": 2, "bbox": [1, 2, 500, 9], "score": 0.4}]))

    nobody, person = JudgedBoxes(BoxFile(path), None, DetectConfig())([frame(1), frame(2)])

    assert nobody.boxes.shape == (0, 4)
    assert person.boxes.tolist() == [[1, 2, 64, 11]]  # cut at the edge


def test_a_frame_without_an_entry_has_nobody_whatever_the_keypoints_say(tmp_path):
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps({"images": [{"id": 1, "file_name": "2.jpg"}], "annotations": []}))
    proposer = Peaks()

    unknown, empty = JudgedBoxes(BoxFile(path), proposer, DetectConfig())([frame(1), frame(2)])

    assert proposer.seen == [2]  # the other costs nothing
    assert float(empty.coarse.scores.max()) == 1  # the filter may recover people that the boxes miss
    candidates = filter_proposals(unknown, FilterConfig(), image_wh=(64, 48))
    assert len(candidates) == 0


def test_a_frame_without_a_picture_is_no_work_for_a_network():
    lost = Frame(index=0, image=None, width=0, height=0, file_name="lost.jpg", status="decode_error")

    with pytest.raises(ValueError, match="without a picture"):
        Detector(BrightestCorner(), CPU)([lost])


def test_a_proposal_network_gives_both_at_the_scale_of_each_picture():
    spec = get_spec("detposenet-tiny")
    config = DetectConfig(detector_size=64, min_box_score=0.0)
    proposer = Proposer(spec.build().eval(), spec, config, CPU, min_peak_score=0.0)

    with torch.inference_mode():
        small, large = proposer([frame(0), frame(1, height=96, width=128)])

    assert len(small.boxes) > 0
    assert (small.coarse.map_scale, large.coarse.map_scale) == (4.0, 8.0)
    assert small.coarse.peaks.shape[0] == 17
    assert small.coarse.limbs.shape == (19, *2 * small.coarse.scores.shape[1:])
    torch.testing.assert_close(large.boxes, 2 * small.boxes, rtol=0, atol=0.1)


def test_pictures_of_several_sizes_keep_their_order_whatever_batches_memory_allows():
    spec = get_spec("detposenet-tiny")
    config = DetectConfig(detector_size=64, min_box_score=0.0)
    proposer = Proposer(spec.build().eval(), spec, config, CPU, min_peak_score=0.0)
    frames = [frame(0, 20), frame(1, 90, width=100), frame(2, 160), frame(3, 230, width=100), frame(4, 250)]
    with torch.inference_mode():
        alone = [proposer([one])[0] for one in frames]

        proposer.batches[0].largest = 2
        together = proposer(frames)

    for found, expected in zip(together, alone, strict=True):
        torch.testing.assert_close((found.boxes, found.box_scores), (expected.boxes, expected.box_scores))
        assert found.coarse.map_scale == expected.coarse.map_scale


def test_coarse_keypoints_that_nobody_wants_are_not_looked_for():
    spec = get_spec("detposenet-tiny")

    with torch.inference_mode():
        (proposals,) = Proposer(spec.build().eval(), spec, DetectConfig(), CPU)([frame(0)])

    assert proposals.coarse is None
