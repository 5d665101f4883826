"""Batches that shrink when a device's memory runs out: the one place that answers to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from posecli.errors import DeviceError
from posecli.runtime import free_memory, out_of_memory

Result = TypeVar("Result")


class Batches:
    """Runs things in batches, and halves these for good once memory runs out.

    Args:
        what: the things' name, in the plural.
        way_out: what a user can do where memory does not even do for one of them.
    """

    def __init__(self, what: str, way_out: str) -> None:
        self.largest: int | None = None  # that is tried; None as long as memory has never run out
        self.note = ""  # what a user should know: that it ran out, and how the run went on
        self._what, self._way_out = what, way_out
        self._failed = 0  # the size at which it ran out for the first time

    def run(self, function: Callable[[slice], Result], count: int, *, size: int, device: torch.device) -> list[Result]:
        """Call a function with one slice of the things after the other.

        Args:
            function: what is done with a batch; where memory did not do, it is called again for fewer things.
            count: how many things there are.
            size: how many shall go at once.
            device: whose memory is used.

        Returns:
            What the function returned, in the order of the things.

        Raises:
            DeviceError: memory does not even do for one.
        """
        results: list[Result] = []
        start = 0
        while start < count:
            part = slice(start, min(start + min(size, self.largest or size), count))
            attempt = _try(function, part)
            if isinstance(attempt, _Failure):
                self._shrink(part.stop - start, attempt, device)
            else:
                results += attempt
                start = part.stop
        return results

    def _shrink(self, tried: int, failure: _Failure, device: torch.device) -> None:
        if tried == 1:
            raise DeviceError(f"out of memory on {device} with a batch of one ({failure.reason}); {self._way_out}")
        self._failed = self._failed or tried
        self.largest = min(self.largest or tried, tried // 2)  # several threads may meet here
        self.note = (
            f"out of memory on {device} with {self._failed} {self._what} in a batch; went on with {self.largest}"
        )
        free_memory(device)


@contextmanager
def no_memory_left(device: torch.device) -> Iterator[None]:
    """Tell running out of memory, where no smaller batch helps, as the device's failure.

    Raises:
        DeviceError: it ran out inside the context.
    """
    try:
        yield
    except Exception as error:
        if not out_of_memory(error):
            raise
        way_out = "take smaller pictures or networks, or --device cpu"
        raise DeviceError(f"out of memory on {device} ({_Failure(error).reason}); {way_out}") from None


class _Failure:
    """What is left of an error: its traceback would keep the tensors of the failed attempt."""

    def __init__(self, error: BaseException) -> None:
        self.reason = (str(error).splitlines() or [""])[0].strip() or type(error).__name__


def _try(function: Callable[[slice], Result], part: slice) -> tuple[Result] | _Failure:
    try:
        return (function(part),)
    except Exception as error:
        if not out_of_memory(error):
            raise
        return _Failure(error)
