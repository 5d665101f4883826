import sys

import numpy as np
import pytest


@pytest.fixture
def peer(examples, monkeypatch):
    monkeypatch.syspath_prepend(str(examples))
    monkeypatch.delitem(sys.modules, "compare_rtmlib", raising=False)
    import compare_rtmlib

    return compare_rtmlib


def stretched(box, cells):
    """What rtmlib's ViTPose answers for heatmap cells: the last one on the crop's very edge."""
    size_wh = np.array([box[2] - box[0], box[3] - box[1]]) * 1.25
    size_wh = np.array([max(size_wh[0], size_wh[1] * 0.75), max(size_wh[1], size_wh[0] / 0.75)])
    centre = np.array([box[0] + box[2], box[1] + box[3]]) / 2
    return cells / np.array([47, 63]) * size_wh + centre - size_wh / 2


def test_cells_go_where_the_crop_has_them(peer):
    box = np.array([100.0, 50.0, 253.6, 254.8])  # with its margin, 192 by 256: a crop pixel is a pixel
    cells = np.array([[0.0, 0.0], [24.0, 32.0], [47.0, 63.0]])

    placed = peer.in_their_places(box, stretched(box, cells))

    np.testing.assert_allclose(placed, np.array([80.8, 24.4]) + 4 * cells, atol=1e-6)


def test_agreement_counts_people_without_a_partner_as_differing(peer):
    box = [100.0, 50.0, 253.6, 254.8]
    cells = np.random.default_rng(0).uniform(0, 47, (17, 2))
    theirs = stretched(np.array(box), cells)
    mine = np.array([80.8, 24.4]) + 4 * cells + 0.5
    mine[0] += 40
    own = {"annotations": [{"image_id": 2, "bbox": [100.0, 50.0, 153.6, 204.8], "points": mine.tolist()}]}
    person = {"box": box, "keypoints": theirs.tolist()}

    found = peer.agreement(own, [[person], [person]])

    assert (found["people"], found["without_partner"]) == (2, 1)
    assert found["with cells in their places"] == pytest.approx(16 / 34)
    assert found["as they are"] < 8 / 34
