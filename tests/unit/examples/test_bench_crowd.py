from types import SimpleNamespace

import numpy as np
import pytest
import torch

from posecli.records import Frame


@pytest.fixture
def script(load_example):
    return load_example("bench_crowd")


def test_people_are_tiled_with_boxes_that_fit(script):
    people = np.array([[50.0, 20, 90, 99]] * 4)
    pictures = [torch.full((300, 400, 3), 10 + index, dtype=torch.uint8) for index in range(10)]
    frames = [(Frame(index, picture, 400, 300, ""), people) for index, picture in enumerate(pictures)]

    image, boxes = script.tile(frames)

    assert len(boxes) == script.PEOPLE
    assert len({tuple(box) for box in boxes.tolist()}) == script.PEOPLE
    for number, (left, top, right, bottom) in enumerate(boxes.int().tolist()):
        assert (image[top:bottom, left:right] == 10 + number // 4).all()


def test_works_take_turns_and_the_first_turn_does_not_count(script, monkeypatch):
    order, clock = [], iter([0.0, 9, 9, 18, 20, 21, 21, 23, 30, 33, 33, 34, 40, 42, 42, 49])
    monkeypatch.setattr(script, "time", SimpleNamespace(perf_counter=lambda: next(clock), process_time=lambda: 1.0))

    times = script.in_turns([lambda: order.append("a"), lambda: order.append("b")], 3)

    assert "".join(order) == "abababab"
    assert times.tolist() == [[2000, 0], [2000, 0]]


def test_both_ways_start_from_as_many_proposals(script, monkeypatch, capsys):
    configs = []

    def load(config, *, device):
        configs.append(config)
        runs = 3 if config.filtering.filter else 19
        return SimpleNamespace(run=lambda frames: [SimpleNamespace(refiner_runs=runs) for _ in frames])

    monkeypatch.setattr(script, "load_pipeline", load)

    script.time_filter([object()] * 2, 4, 9.5, 1)

    with_it, without = configs
    assert with_it.detect == without.detect
    assert with_it.detect.max_proposals == 19  # 9.5 for each of two people a picture
    assert (with_it.filtering.filter, without.filtering.filter, without.filtering.max_box_iou) == (True, False, 1)
    told = capsys.readouterr().out
    assert "  filter: 1.50 refiner runs per annotated person" in told
    assert "no filter: 9.50 refiner runs per annotated person" in told
