"""Skeletons on a picture: left and right in different colours, fainter where the network is unsure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from posecli.records import Poses, Rejection
from posecli.skeleton import EDGES, KEYPOINTS

_LEFT, _RIGHT, _MIDDLE = (255, 138, 0), (0, 164, 255), (92, 214, 92)  # RGB; told apart by colour-blind people too
_GREY = (190, 190, 190)
_MIN_SCORE = 0.1  # keypoints below are not drawn
_SURE_SCORE = 0.6  # drawn at full strength from here on
_FAR = 1 << 15  # pixels, outside of any picture; larger numbers would overflow OpenCV's
_SHIFT = 3  # fractional bits of OpenCV's fixed-point coordinates


def _side(name: str) -> tuple[int, int, int]:
    return _LEFT if name.startswith("left_") else _RIGHT if name.startswith("right_") else _MIDDLE


_POINT_COLOURS = tuple(_side(name) for name in KEYPOINTS)
_EDGE_COLOURS = tuple(_POINT_COLOURS[a] if _POINT_COLOURS[a] == _POINT_COLOURS[b] else _MIDDLE for a, b in EDGES)


def draw(image: np.ndarray, poses: Poses, *, rejections: Sequence[Rejection] = ()) -> np.ndarray:
    """Return the picture with its people drawn on it.

    Args:
        image: (H, W, 3) uint8 RGB; not changed.
        poses: in the picture's pixels.
        rejections: dropped proposals, drawn as thin grey boxes with their reasons.
    """
    canvas = image.copy()
    for rejection in rejections:
        _draw_rejection(canvas, rejection)
    people = zip(poses.boxes.tolist(), poses.keypoints.tolist(), poses.keypoint_scores.tolist(), strict=True)
    for box, points, scores in reversed(list(people)):  # the surest person on top
        _draw_person(canvas, box, points, scores)
    return canvas


def thickness(box: Sequence[float], image_hw: tuple[int, int]) -> int:
    """Return a line width in pixels that suits a person of this box (xyxy) in a picture of this size."""
    person = max(box[2] - box[0], box[3] - box[1])
    return max(1, min(round(person / 70), round(min(image_hw) / 90)))


def _draw_person(canvas: np.ndarray, box: list[float], points: list[list[float]], scores: list[float]) -> None:
    width = thickness(box, (canvas.shape[0], canvas.shape[1]))
    strength = [
        min(1.0, score / _SURE_SCORE) if score >= _MIN_SCORE and math.isfinite(x + y) else 0.0
        for (x, y), score in zip(points, scores, strict=True)
    ]
    for (a, b), colour in zip(EDGES, _EDGE_COLOURS, strict=True):
        if strength[a] and strength[b]:
            faded = _faint(canvas, points[a], points[b], colour, min(strength[a], strength[b]))
            cv2.line(canvas, _fixed(points[a]), _fixed(points[b]), faded, width, cv2.LINE_AA, _SHIFT)
    radius = round((width + 1) * (1 << _SHIFT) * 0.75)
    for point, colour, sure in zip(points, _POINT_COLOURS, strength, strict=True):
        if sure:
            cv2.circle(
                canvas, _fixed(point), radius, _faint(canvas, point, point, colour, sure), -1, cv2.LINE_AA, _SHIFT
            )


def _fixed(point: Sequence[float]) -> tuple[int, int]:
    x, y = (max(-_FAR, min(_FAR, value)) for value in point)
    return round(x * (1 << _SHIFT)), round(y * (1 << _SHIFT))


def _faint(
    canvas: np.ndarray, a: Sequence[float], b: Sequence[float], colour: tuple[int, int, int], strength: float
) -> tuple[float, ...]:
    """Mix the colour with the picture between both points: opacity at the price of one pixel."""
    height, width = canvas.shape[:2]
    x = min(width - 1, max(0, round((a[0] + b[0]) / 2)))
    y = min(height - 1, max(0, round((a[1] + b[1]) / 2)))
    opacity = 0.35 + 0.65 * strength
    return tuple(opacity * own + (1 - opacity) * float(under) for own, under in zip(colour, canvas[y, x], strict=True))


def _draw_rejection(canvas: np.ndarray, rejection: Rejection) -> None:
    if not all(map(math.isfinite, rejection.box)):
        return
    left, top, right, bottom = (round(max(-_FAR, min(_FAR, value))) for value in rejection.box)
    cv2.rectangle(canvas, (left, top), (right, bottom), _GREY, 1)
    label = f"{rejection.reason} {rejection.box_score:.2f}"
    scale = max(0.35, min(canvas.shape[:2]) / 1200)
    place = (left + 2, max(10, top + round(14 * scale / 0.4)))
    cv2.putText(canvas, label, place, cv2.FONT_HERSHEY_SIMPLEX, scale, _GREY, 1, cv2.LINE_AA)
