"""Lists of numbers are checked many at a time, and no differently for it."""

import math

import numpy as np
import pytest

from posecli.errors import InputError
from posecli.media.checked_json import LARGEST, is_number, numbers

GOOD = (0, -1, 2.5, 1e9, -1e9, np.float64(3))
BAD = (math.nan, math.inf, -math.inf, 2 * LARGEST, -(10**400), True, None, "1", [1])


def listed(values):
    return numbers({"bbox": list(values)}, "bbox", len(values), "x.json: [0]", layout="numbers")


@pytest.mark.parametrize("value", [*GOOD, *BAD], ids=lambda value: repr(value)[:12])
@pytest.mark.parametrize("place", range(4))
def test_a_list_passes_if_each_of_its_numbers_does_and_the_first_other_is_named(value, place):
    values = [1.5, 2, -3.5, value]
    values = values[-place:] + values[:-place]

    if is_number(value):
        assert listed(values) == values
    else:
        with pytest.raises(InputError, match=rf"x\.json: \[0\]: bbox\[{values.index(value)}\] is .*wanted a finite"):
            listed(values)


def test_infinities_that_cancel_and_several_nans_are_seen():
    for values in ([math.inf, -math.inf], [1.0, math.nan, 2.0], [math.nan] * 3):
        with pytest.raises(InputError, match="wanted a finite number"):
            listed(values)


def test_no_numbers_are_no_wrong_numbers():
    assert listed([]) == []
