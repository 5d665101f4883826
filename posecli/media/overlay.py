"""Skeletons on a picture: left and right in different colours, fainter where the network is unsure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from posecli.config import MergeConfig, OverlayConfig
from posecli.media.faces import Region, head_regions, hide
from posecli.media.lettering import letter_height, write
from posecli.records import Annotated, Poses, Rejection
from posecli.skeleton import EDGES, KEYPOINTS

Colour = tuple[int, int, int]

_LEFT, _RIGHT, _MIDDLE = (255, 138, 0), (0, 164, 255), (92, 214, 92)  # RGB; told apart by colour-blind people too
_GREY, _DARK, _WHITE = (190, 190, 190), (20, 20, 20), (255, 255, 255)
_SURE_SCORE = MergeConfig.min_visible_score  # drawn at full strength from here on
_FAINTEST = 0.3  # opacity of what is just not left out
_FAR = 1 << 15  # pixels, outside of any picture; larger numbers would overflow OpenCV's
_SHIFT = 3  # fractional bits of OpenCV's fixed-point coordinates
_BLURRED_SIDE = 96  # pixels that are left of the shorter side of a blurred background


def _side(name: str) -> Colour:
    return _LEFT if name.startswith("left_") else _RIGHT if name.startswith("right_") else _MIDDLE


_POINT_COLOURS = tuple(_side(name) for name in KEYPOINTS)
_EDGE_COLOURS = tuple(_POINT_COLOURS[a] if _POINT_COLOURS[a] == _POINT_COLOURS[b] else _MIDDLE for a, b in EDGES)
_PLAIN = OverlayConfig()


def draw(
    image: np.ndarray,
    poses: Poses,
    *,
    config: OverlayConfig = _PLAIN,
    min_score: float = MergeConfig.min_labelled_score,
    rejections: Sequence[Rejection] = (),
    more_faces: Sequence[Region] = (),
) -> np.ndarray:
    """Return the picture with its people drawn on it.

    Args:
        image: (H, W, 3) uint8 RGB; not changed.
        poses: in the picture's pixels.
        config: how to draw.
        min_score: keypoints below are not drawn: the dataset file has no place for them either.
        rejections: dropped proposals, drawn as thin grey boxes with their reasons.
        more_faces: with `blur_faces`, places to hide besides the people's heads.
    """
    canvas = _background(image, config.background)
    if config.blur_faces and config.background != "black":
        hide(canvas, [*head_regions(poses), *more_faces])
    for rejection in rejections:
        _draw_rejection(canvas, rejection)
    for index in reversed(range(len(poses))):  # the surest person on top
        _draw_person(canvas, poses, index, config, min_score)
    if config.caption:
        write(canvas, config.caption, (0, 0), _WHITE)
    return canvas


@dataclass(frozen=True, kw_only=True)
class Drawer:
    """Draws frames; see `draw`."""

    config: OverlayConfig = _PLAIN
    min_score: float = MergeConfig.min_labelled_score
    explain: bool = False  # also what was dropped

    def __call__(self, annotated: Annotated, more_faces: Sequence[Region] = ()) -> np.ndarray | None:
        """Return a frame's picture with its people; None for a frame that was lost."""
        if annotated.frame.image is None:
            return None
        rejections = annotated.rejections if self.explain else ()
        return draw(
            annotated.frame.image.numpy(),
            annotated.poses,
            config=self.config,
            min_score=self.min_score,
            rejections=rejections,
            more_faces=more_faces,
        )


def thickness(box: Sequence[float], image_hw: tuple[int, int]) -> int:
    """Return a line width in pixels that suits a person of this box (xyxy) in a picture of this size."""
    person = max(box[2] - box[0], box[3] - box[1])
    if not math.isfinite(person):
        return 1
    return max(1, min(round(person / 90), round(min(image_hw) / 110)))


def _background(image: np.ndarray, kind: str) -> np.ndarray:
    if kind == "black":
        return np.zeros_like(image)
    if kind == "blur":
        height, width = image.shape[:2]
        scale = min(_BLURRED_SIDE / min(height, width), 1)
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        return cv2.resize(cv2.GaussianBlur(small, (0, 0), 2.5), (width, height), interpolation=cv2.INTER_LINEAR)
    return image.copy()


def _draw_person(canvas: np.ndarray, poses: Poses, index: int, config: OverlayConfig, min_score: float) -> None:
    box, points = poses.boxes[index].tolist(), poses.keypoints[index].tolist()
    width = config.thickness or thickness(box, (canvas.shape[0], canvas.shape[1]))
    strength = [
        min(1.0, score / _SURE_SCORE) if score >= min_score and all(map(math.isfinite, point)) else 0.0
        for point, score in zip(points, poses.keypoint_scores[index].tolist(), strict=True)
    ]
    for (a, b), colour in zip(EDGES, _EDGE_COLOURS, strict=True):
        if strength[a] and strength[b]:
            _line(canvas, points[a], points[b], colour, width, min(strength[a], strength[b]))
    for point, colour, sure in zip(points, _POINT_COLOURS, strength, strict=True):
        if sure:
            _dot(canvas, point, colour, width, sure)
    _label_person(canvas, poses, index, config)
    if "names" in config.labels:
        for name, point, colour, sure in zip(KEYPOINTS, points, _POINT_COLOURS, strength, strict=True):
            ends = name.startswith("right_")  # people mostly face the camera: right is left
            if sure:
                place = (point[0] + (-2 if ends else 2) * (width + 1), point[1])
                write(canvas, name.replace("_", " "), place, colour, small=True, ends=ends)


def _line(
    canvas: np.ndarray, a: Sequence[float], b: Sequence[float], colour: Colour, width: float, strength: float
) -> None:
    """Draw a limb with a dark seam, which keeps it visible on a background of its own colour."""

    def paint(part: np.ndarray, left: int, top: int) -> None:
        ends = _fixed(a, left, top), _fixed(b, left, top)
        if width > 1:
            cv2.line(part, *ends, _DARK, _whole(width + _seam(width)), cv2.LINE_AA, _SHIFT)
        cv2.line(part, *ends, colour, _whole(width), cv2.LINE_AA, _SHIFT)

    _blend(canvas, (a, b), width, strength, paint)


def _dot(canvas: np.ndarray, point: Sequence[float], colour: Colour, width: float, strength: float) -> None:
    def paint(part: np.ndarray, left: int, top: int) -> None:
        centre, radius = _fixed(point, left, top), (width + 1) * (1 << _SHIFT) * 0.75
        if width > 1:
            outer = round(radius + _seam(width) / 2 * (1 << _SHIFT))
            cv2.circle(part, centre, outer, _DARK, -1, cv2.LINE_AA, _SHIFT)
        cv2.circle(part, centre, round(radius), colour, -1, cv2.LINE_AA, _SHIFT)

    _blend(canvas, (point,), width, strength, paint)


def _seam(width: float) -> float:
    """Return how much wider a limb's dark seam is, both sides together."""
    return max(2.0, width / 3)


def _whole(width: float) -> int:
    return max(1, round(width))


def _blend(
    canvas: np.ndarray,
    points: Sequence[Sequence[float]],
    width: float,
    strength: float,
    paint: Callable[[np.ndarray, int, int], None],
) -> None:
    """Paint with an opacity, on the part of the canvas around the points."""
    reach = math.ceil(2 * width) + 2
    left, right = _span([point[0] for point in points], reach, canvas.shape[1])
    top, bottom = _span([point[1] for point in points], reach, canvas.shape[0])
    part = canvas[top:bottom, left:right]
    if not part.size:
        return
    opacity = _FAINTEST + (1 - _FAINTEST) * strength
    if opacity > 0.99:
        paint(part, left, top)
        return
    painted = part.copy()
    paint(painted, left, top)
    cv2.addWeighted(painted, opacity, part, 1 - opacity, 0, dst=part)


def _span(values: Sequence[float], reach: int, size: int) -> tuple[int, int]:
    """Return the pixels from the first value to the last one, and `reach` more on both sides, as far as there are."""
    return round(min(max(min(values) - reach, 0), size)), round(min(max(max(values) + reach, 0), size))


def _fixed(point: Sequence[float], left: int, top: int) -> tuple[int, int]:
    x, y = max(-_FAR, min(_FAR, point[0] - left)), max(-_FAR, min(_FAR, point[1] - top))
    return round(x * (1 << _SHIFT)), round(y * (1 << _SHIFT))


def _label_person(canvas: np.ndarray, poses: Poses, index: int, config: OverlayConfig) -> None:
    parts = []
    if "id" in config.labels and poses.track_ids:
        parts.append(f"#{poses.track_ids[index]}")
    if "score" in config.labels:
        parts.append(f"{float(poses.scores[index]):.2f}")
    left, top, *_ = poses.boxes[index].tolist()
    if parts:
        write(canvas, " ".join(parts), (left, top - 4), _WHITE)


def _draw_rejection(canvas: np.ndarray, rejection: Rejection) -> None:
    if not all(map(math.isfinite, rejection.box)):
        return
    left, top, right, bottom = (round(max(-_FAR, min(_FAR, value))) for value in rejection.box)
    line = max(1, round(min(canvas.shape[:2]) / 500))
    cv2.rectangle(canvas, (left, top), (right, bottom), _GREY, line)
    height = letter_height(canvas, small=True)
    write(canvas, f"{rejection.reason} {rejection.box_score:.2f}", (left + 2, top + 1.5 * height), _GREY, small=True)
