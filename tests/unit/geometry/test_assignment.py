from itertools import permutations
from random import Random

import pytest

from posecli.geometry.assignment import assign


def least_cost(costs):
    """Try every pairing."""
    rows, columns = len(costs), len(costs[0])
    if rows > columns:
        return least_cost([list(column) for column in zip(*costs, strict=True)])
    return min(sum(costs[row][chosen[row]] for row in range(rows)) for chosen in permutations(range(columns), rows))


@pytest.mark.parametrize("rows", range(1, 7))
@pytest.mark.parametrize("columns", range(1, 7))
def test_no_pairing_costs_less(rows, columns):
    random = Random(rows * 10 + columns)
    for round_ in range(12):
        draw = (random.random, lambda: float(random.randint(-2, 2)))[round_ % 2]  # with many equal costs, too
        costs = [[draw() for _ in range(columns)] for _ in range(rows)]

        pairs = assign(costs)

        assert len(pairs) == min(rows, columns)
        assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(pairs)
        assert pairs == sorted(pairs)
        assert sum(costs[row][column] for row, column in pairs) == pytest.approx(least_cost(costs), abs=1e-9)


def test_the_nearest_is_not_always_taken():
    assert assign([[1.0, 2.0], [2.0, 100.0]]) == [(0, 1), (1, 0)]


@pytest.mark.parametrize("costs", [[], [[]], [[], []]])
def test_nobody_is_paired_with_nobody(costs):
    assert assign(costs) == []


def test_many_are_paired_as_they_should():
    random = Random(0)
    order = random.sample(range(60), 60)
    costs = [
        [(0.0 if order[row] == column else 0.5) + random.random() / 3 for column in range(60)] for row in range(60)
    ]

    assert assign(costs) == list(enumerate(order))
