"""Which frames of a source are wanted: by time, every so many-th, and no more than so many."""

from __future__ import annotations

from fractions import Fraction

from posecli.config import ReadConfig

_ROUNDING_S = 1e-6  # 2.04 as a float lies above 51/25


class Selection:
    """Decides over frames as they come, in presentation order."""

    def __init__(self, reading: ReadConfig, start_pts: int | None, time_base: Fraction) -> None:
        """Count from here.

        Args:
            reading: what is wanted; times count from the first frame, as players show them.
            start_pts: the first frame's time stamp, if the header knows it.
            time_base: seconds per unit of time stamps.
        """
        self._reading, self._time_base = reading, time_base
        self._origin = start_pts
        self._met = self._taken = 0
        self.ended = False  # nothing that still comes is wanted

    @property
    def first_pts(self) -> int | None:
        """The time stamp from which on frames may be wanted; None: from the beginning, or not known yet."""
        if not self._reading.start or self._origin is None:
            return None
        return self._origin + int((self._reading.start - _ROUNDING_S) / self._time_base)

    def takes(self, pts: int) -> bool:
        """Tell whether the next frame is wanted."""
        if self._origin is None:
            self._origin = pts
        since_s = float((pts - self._origin) * self._time_base) + _ROUNDING_S
        if since_s < self._reading.start:
            return False
        if self._reading.end is not None and since_s >= self._reading.end:
            self.ended = True
            return False
        number, self._met = self._met, self._met + 1
        if number % self._reading.stride:
            return False
        self._taken += 1
        self.ended = self._taken == self._reading.max_frames
        return True


def expected(count: int, reading: ReadConfig, first: int = 0, last: int | None = None) -> int:
    """Return how many of `count` frames are wanted.

    Args:
        count: frames of the source.
        reading: what is wanted.
        first: index of the first frame that may be wanted.
        last: index of the first one after it that may not.
    """
    within = max(min(count, count if last is None else last) - first, 0)
    strided = -(-within // reading.stride)
    return strided if reading.max_frames is None else min(strided, reading.max_frames)
