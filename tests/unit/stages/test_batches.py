from __future__ import annotations

import gc
import weakref

import pytest
import torch

from posecli.errors import DeviceError
from posecli.stages import batches as module
from posecli.stages.batches import Batches, no_memory_left

CPU = torch.device("cpu")


def too_small_for_more_than(most, *, error=torch.OutOfMemoryError):
    """Return what doubles numbers, at most so many at once, and the sizes that it was asked for."""
    asked = []

    def double(numbers):
        asked.append(len(numbers))
        if len(numbers) > most:
            raise error("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore lines.")
        return [2 * number for number in numbers]

    return double, asked


def run(batches, function, things, size):
    return [
        item
        for part in batches.run(lambda part: function(things[part]), len(things), size=size, device=CPU)
        for item in part
    ]


def test_memory_that_does_is_said_nothing_of():
    batches = Batches("crops", "take fewer")
    double, asked = too_small_for_more_than(4)

    assert run(batches, double, list(range(10)), 4) == [2 * number for number in range(10)]
    assert asked == [4, 4, 2]
    assert batches.note == ""


def test_batches_are_halved_until_memory_does_and_stay_so(monkeypatch):
    freed = []
    monkeypatch.setattr(module, "free_memory", freed.append)
    batches = Batches("crops", "take fewer")
    double, asked = too_small_for_more_than(5)

    assert run(batches, double, list(range(20)), 16) == [2 * number for number in range(20)]
    assert asked == [16, 8, 4, 4, 4, 4, 4]
    assert freed == [CPU, CPU]
    assert run(batches, double, list(range(6)), 16) == [2 * number for number in range(6)]
    assert asked[7:] == [4, 2]
    assert batches.note == "out of memory on cpu with 16 crops in a batch; went on with 4"


def test_memory_that_does_for_nothing_is_the_devices_failure():
    double, asked = too_small_for_more_than(0)

    with pytest.raises(DeviceError) as failure:
        run(Batches("crops", "take fewer"), double, [1, 2, 3], 3)

    assert asked == [3, 1]
    assert failure.value.exit_code == 6
    assert str(failure.value) == (
        "out of memory on cpu with a batch of one (CUDA out of memory. Tried to allocate 2.00 GiB.); take fewer"
    )


def test_other_errors_are_bugs():
    def fail(part):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        Batches("crops", "").run(fail, 4, size=4, device=CPU)
    with pytest.raises(RuntimeError, match="shapes"), no_memory_left(CPU):
        fail(None)


def test_what_a_failed_attempt_held_is_gone_before_the_next(monkeypatch):
    class Tensors:
        pass

    held, alive = [], []
    monkeypatch.setattr(module, "free_memory", lambda _: alive.append(held[0]() is not None))

    def fill(part):
        tensors = Tensors()
        held.append(weakref.ref(tensors))
        if part.stop - part.start > 1:
            raise torch.OutOfMemoryError("too much")

    gc.disable()  # reference counts alone have to do: nobody collects before the next attempt
    try:
        Batches("crops", "").run(fill, 2, size=2, device=CPU)
    finally:
        gc.enable()

    assert alive == [False]


def test_memory_that_runs_out_elsewhere_has_a_way_out_too():
    with (
        pytest.raises(DeviceError, match=r"out of memory on cpu \(no room\); take smaller pictures"),
        no_memory_left(CPU),
    ):
        raise MemoryError("no room")
