"""CPN: its TensorFlow arithmetic, the place of every official weight, and the variants of the paper's tables."""

from __future__ import annotations

import pytest
import torch

from foreign_keys import check_places
from posecli.networks._count import count_params
from posecli.networks.cpn import CascadedPyramidNetwork, enlarge
from tensorflow_names import cpn_place


def slow_enlarge(row, factor):
    """TensorFlow 1's `resize_bilinear` along one axis: cell x reads the input at x / factor, clamped."""
    last = len(row) - 1
    places = [cell / factor for cell in range(factor * len(row))]
    return [row[int(x)] * (1 - x + int(x)) + row[min(int(x) + 1, last)] * (x - int(x)) for x in places]


@pytest.mark.parametrize("factor", [1, 2, 8])
def test_enlarge_agrees_with_a_slow_loop(factor):
    maps = torch.rand(1, 2, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rows = [[slow_enlarge(row, factor) for row in plane] for plane in maps[0].tolist()]
    columns = [[slow_enlarge(column, factor) for column in zip(*plane, strict=True)] for plane in rows]
    expected = torch.tensor(columns, dtype=torch.float64).transpose(1, 2)

    torch.testing.assert_close(enlarge(maps, factor)[0], expected, rtol=0, atol=1e-12)


def test_every_official_weight_has_its_place():
    with torch.device("meta"):
        network = CascadedPyramidNetwork()

    assert count_params(network) == 27_009_770
    check_places(network, "keys_tfcpn_r50_256x192.json", cpn_place)


@pytest.mark.parametrize(
    ("options", "params", "stages"),
    [
        ({"refine": "none"}, 25_111_496, 4),
        ({"refine": "concat"}, 25_725_674, 5),
        ({"refine": "one"}, 26_581_738, 5),
        ({"levels": 1}, 25_364_714, 5),
        ({"levels": 2}, 25_743_082, 5),
        ({"levels": 3}, 26_269_418, 5),
    ],
)
def test_variants_of_tables_6_and_7_are_options(options, params, stages):
    with torch.device("meta"):
        network = CascadedPyramidNetwork(**options)
        heatmaps = network(torch.rand(2, 3, 64, 64))

    assert count_params(network) == params
    assert [heatmap.shape for heatmap in heatmaps] == stages * [(2, 17, 16, 16)]


def test_an_unknown_refiner_is_refused():
    with pytest.raises(ValueError, match="cascade"):
        CascadedPyramidNetwork(refine="waterfall")
