"""Who belongs to whom: the pairing of rows with columns that costs least in all."""

from __future__ import annotations

from collections.abc import Sequence

_INFINITY = float("inf")
_NOBODY = -1


def assign(costs: Sequence[Sequence[float]]) -> list[tuple[int, int]]:
    """Pair every row with a column of its own, or every column with a row where there are fewer columns.

    Args:
        costs: N rows of M finite numbers each.

    Returns:
        min(N, M) pairs (row, column) in the order of rows, whose summed cost is the least possible.

    Source: the Hungarian method in Jonker and Volgenant's form, "A Shortest Augmenting Path Algorithm for Dense and
    Sparse Linear Assignment Problems", Computing 1987: rows come in one by one, each along the cheapest path of
    re-pairings, in O(N^2 M).
    """
    if not costs or not costs[0]:
        return []
    if len(costs) > len(costs[0]):
        turned = assign([list(column) for column in zip(*costs, strict=True)])
        return sorted((row, column) for column, row in turned)
    row_prices, column_prices = [0.0] * len(costs), [0.0] * len(costs[0])
    row_of = [_NOBODY] * len(costs[0])
    for row in range(len(costs)):
        before, column = _cheapest_path(row, costs, row_of, row_prices, column_prices)
        while column != _NOBODY:  # every row on the way moves on by one column
            row_of[column] = row if before[column] == _NOBODY else row_of[before[column]]
            column = before[column]
    return sorted((row, column) for column, row in enumerate(row_of) if row != _NOBODY)


def _cheapest_path(
    start: int,
    costs: Sequence[Sequence[float]],
    row_of: Sequence[int],
    row_prices: list[float],
    column_prices: list[float],
) -> tuple[list[int], int]:
    """Find the cheapest way from a row to a free column over paired ones, and move the prices along.

    Returns:
        For each column the one before it on the way there (`_NOBODY`: the way begins with it), and the free column.
    """
    distances, before = [_INFINITY] * len(row_of), [_NOBODY] * len(row_of)
    left, done = set(range(len(row_of))), []
    row, here, reached = start, _NOBODY, 0.0
    while row != _NOBODY:
        for column in left:
            distance = reached + costs[row][column] - row_prices[row] - column_prices[column]
            if distance < distances[column]:
                distances[column], before[column] = distance, here
        here = min(left, key=lambda column: (distances[column], column))
        left.remove(here)
        done.append(here)
        row, reached = row_of[here], distances[here]
    row_prices[start] += reached
    for column in done[:-1]:
        row_prices[row_of[column]] += reached - distances[column]
        column_prices[column] -= reached - distances[column]
    return before, here
