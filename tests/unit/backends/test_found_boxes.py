from __future__ import annotations

import pytest
import torch

from posecli.backends.found_boxes import is_raw_rtmdet, read_raw_rtmdet
from posecli.errors import InputError


def heads(*, value):
    """One stride of 8 on a picture of 16 x 24, every distance 4 pixels."""
    return torch.full((1, 1, 2, 3), value), torch.full((1, 4, 2, 3), 4.0)


def test_heads_are_told_by_their_channels():
    assert is_raw_rtmdet([[1, 80, "h", "w"], [1, 4, "h", "w"]])
    assert is_raw_rtmdet([[1, 4, 8, 8], [1, 4, 4, 4], [1, 1, 8, 8], [1, 1, 4, 4]])
    assert not is_raw_rtmdet([[1, 17, 64, 48]])
    assert not is_raw_rtmdet([[1, 4, 8, 8], [1, 80, 8, 8], [1, 80, 4, 4]])
    assert not is_raw_rtmdet([[1, 100, 5], [1, 100]])


def test_cells_stand_for_their_top_left_pixel():
    classes, sides = heads(value=-9.0)
    classes[0, 0, 1, 2] = 9.0
    boxes, _ = read_raw_rtmdet([sides, classes], (16, 24))

    assert boxes[0].tolist() == [12.0, 4.0, 20.0, 12.0]  # about (16, 8)


def test_probabilities_are_taken_as_they_are_and_logits_are_not():
    classes, sides = heads(value=0.0)
    classes[0, 0, 0, 0] = 0.7
    _, scores = read_raw_rtmdet([classes, sides], (16, 24))
    _, of_logits = read_raw_rtmdet([classes - 0.1, sides], (16, 24))

    assert scores.tolist() == pytest.approx([0.7, 0, 0, 0, 0, 0])
    assert float(of_logits[0]) == pytest.approx(torch.tensor(0.6).sigmoid().item())


def test_classes_without_distances_are_told():
    classes, sides = heads(value=0.0)
    with pytest.raises(InputError, match="2x3 classes without distances"):
        read_raw_rtmdet([classes, sides[..., :2]], (16, 24))
