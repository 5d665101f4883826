"""Letters on a picture that can be read on any background and at any size of it."""

from __future__ import annotations

import math

import cv2
import numpy as np

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FONT_HEIGHT = 22  # pixels of a capital letter at scale 1


def letter_height(canvas: np.ndarray, *, small: bool) -> float:
    """Return a capital letter's height in pixels that can be read in a picture of this size."""
    return max(7.0 if small else 8.0, min(canvas.shape[:2]) / (75 if small else 45))


def write(
    canvas: np.ndarray,
    text: str,
    place: tuple[float, float],
    colour: tuple[int, int, int],
    *,
    small: bool = False,
    ends: bool = False,
) -> None:
    """Write on a dark plate, kept inside of the picture.

    Args:
        canvas: the picture.
        text: one line.
        place: x y of the text's bottom left corner, with `ends` its bottom right one.
        colour: of the letters.
        small: less than a label's size.
        ends: whether the text ends at `place`.
    """
    if not all(map(math.isfinite, place)):
        return
    height = letter_height(canvas, small=small)
    scale, line = height / _FONT_HEIGHT, max(1, round(height / 10))
    (width, above), below = cv2.getTextSize(text, _FONT, scale, line)
    x = round(max(line, min(place[0] - width * ends, canvas.shape[1] - width - line)))
    y = round(max(above + line, min(place[1], canvas.shape[0] - below)))
    plate = canvas[max(y - above - line, 0) : y + below, max(x - line, 0) : x + width + line]
    plate //= 4
    cv2.putText(canvas, text, (x, y), _FONT, scale, colour, line, cv2.LINE_AA)
