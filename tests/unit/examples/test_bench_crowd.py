import sys

import numpy as np
import torch

from posecli.records import Frame


def test_people_are_tiled_with_boxes_that_fit(examples, monkeypatch):
    monkeypatch.syspath_prepend(str(examples))
    monkeypatch.delitem(sys.modules, "bench_crowd", raising=False)
    import bench_crowd

    people = np.array([[50.0, 20, 90, 99]] * 4)
    pictures = [torch.full((300, 400, 3), 10 + index, dtype=torch.uint8) for index in range(10)]
    frames = [(Frame(index, picture, 400, 300, ""), people) for index, picture in enumerate(pictures)]

    image, boxes = bench_crowd.tile(frames)

    assert len(boxes) == bench_crowd.PEOPLE
    assert len({tuple(box) for box in boxes.tolist()}) == bench_crowd.PEOPLE
    for number, (left, top, right, bottom) in enumerate(boxes.int().tolist()):
        assert (image[top:bottom, left:right] == 10 + number // 4).all()
