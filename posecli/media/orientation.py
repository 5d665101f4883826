"""How a stored picture has to be turned to stand upright, as FFmpeg and as EXIF say it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Turn(NamedTuple):
    """Swap rows and columns, then flip left-right, then flip top-bottom."""

    swapped: bool = False
    left_right: bool = False
    top_bottom: bool = False

    @property
    def clockwise(self) -> int:
        """Degrees; mirrored ones are named by the turn that comes after the mirroring."""
        return _CLOCKWISE[self]

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Return an (H, W, ...) array upright."""
        image = image.swapaxes(0, 1) if self.swapped else image
        image = image[:, ::-1] if self.left_right else image
        image = image[::-1] if self.top_bottom else image
        return np.ascontiguousarray(image)


def from_display_matrix(matrix: np.ndarray) -> Turn:
    """Read FFmpeg's display matrix, (9,) int32.

    Source: libavutil/display.h: x' = a x + c y, y' = b x + d y for [a b u c d v x y w] in 16.16 fixed point.
    """
    a, b, _, c, d = matrix[:5].tolist()
    return Turn(True, c < 0, b < 0) if abs(b) > abs(a) else Turn(False, a < 0, d < 0)


def from_exif(orientation: int) -> Turn:
    """Read an EXIF orientation, 1 to 8; anything else is upright."""
    return Turn(orientation in {5, 6, 7, 8}, orientation in {2, 3, 6, 7}, orientation in {3, 4, 7, 8})


_CLOCKWISE = {
    Turn(): 0,
    Turn(True, True, False): 90,
    Turn(False, True, True): 180,
    Turn(True, False, True): 270,
    Turn(False, True, False): 0,
    Turn(False, False, True): 180,
    Turn(True, False, False): 90,
    Turn(True, True, True): 270,
}
