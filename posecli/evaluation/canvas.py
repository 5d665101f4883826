"""Charts as lists of shapes, drawn as SVG for pages and as pixels for PNG files: one description, two ways out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import TypeAlias

import cv2
import numpy as np

# Colours by what they are for: on light and on dark ground. Series are Okabe and Ito's, told apart by colour-blind
# people too; `step` colours are one hue from strong to weak, for an ordered family of curves.
COLOURS = {
    "ground": ("#ffffff", "#1b1f26"),
    "ink": ("#1c2128", "#e8ebf0"),
    "muted": ("#57606c", "#a3adba"),
    "grid": ("#e1e5ea", "#343b46"),
    "quiet": ("#cdd5de", "#48525f"),
    "blue": ("#0072b2", "#56b4e9"),
    "sky": ("#56b4e9", "#56b4e9"),
    "orange": ("#e69f00", "#e69f00"),
    "green": ("#009e73", "#1fbf92"),
    "red": ("#d55e00", "#e8752a"),
}
_STEPS = 10
_STRONG_WEAK = (("#08306b", "#a6cbe6"), ("#eaf3fb", "#4a86b8"))  # of light and of dark ground


def _blend(strong: str, weak: str, part: float) -> str:
    pairs = zip(_rgb(strong), _rgb(weak), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * part):02x}" for a, b in pairs)


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return red, green, blue


def _with_steps() -> dict[str, tuple[str, str]]:
    light, dark = _STRONG_WEAK
    parts = [step / (_STEPS - 1) for step in range(_STEPS)]
    return COLOURS | {f"step{step}": (_blend(*light, part), _blend(*dark, part)) for step, part in enumerate(parts)}


PALETTE = _with_steps()
FONT_SIZE = 12.0  # chart units; a chart is about as many units wide as a phone has points


@dataclass(frozen=True, slots=True)
class Line:
    """A polyline."""

    points: tuple[tuple[float, float], ...]
    colour: str
    width: float = 2.0
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Box:
    """A filled rectangle."""

    left: float
    top: float
    width: float
    height: float
    colour: str


@dataclass(frozen=True, slots=True)
class Dot:
    """A filled circle."""

    x: float
    y: float
    radius: float
    colour: str


@dataclass(frozen=True, slots=True)
class Label:
    """A line of text on a baseline."""

    x: float
    y: float
    text: str
    colour: str = "muted"
    anchor: str = "start"  # or "middle", "end"
    size: float = FONT_SIZE


Shape: TypeAlias = Line | Box | Dot | Label


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture in units that are about pixels, later shapes over earlier ones."""

    name: str  # of its file, without suffix
    title: str
    description: str  # what it shows, for people who do not see it
    width: float
    height: float
    shapes: tuple[Shape, ...]


def to_svg(chart: Chart) -> str:
    """Return the chart as an SVG element whose colours are CSS variables named after PALETTE."""
    body = "".join(_svg(shape) for shape in chart.shapes)
    label = escape(f"{chart.title}. {chart.description}")
    return (
        f'<svg viewBox="0 0 {chart.width:g} {chart.height:g}" role="img" aria-label="{label}" '
        f'xmlns="http://www.w3.org/2000/svg">{body}</svg>'
    )


def to_pixels(chart: Chart, *, scale: float = 3.0) -> np.ndarray:
    """Return the chart with its title on light ground.

    Args:
        chart: the chart.
        scale: pixels a unit.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    head = 30.0
    pixels = np.empty((round((chart.height + head) * scale), round(chart.width * scale), 3), dtype=np.uint8)
    pixels[:] = _rgb(PALETTE["ground"][0])
    drawing = _Pixels(pixels, scale, head)
    drawing.draw(Label(10, -10, chart.title, "ink", size=15))
    for shape in chart.shapes:
        drawing.draw(shape)
    return pixels


def _svg(shape: Shape) -> str:
    colour = f"var(--{shape.colour})"
    if isinstance(shape, Line):
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in shape.points)
        dashes = ' stroke-dasharray="4 4"' if shape.dashed else ""
        width = f'stroke-width="{shape.width:g}" stroke-linejoin="round"{dashes}'
        return f'<polyline points="{points}" fill="none" stroke="{colour}" {width}/>'
    if isinstance(shape, Box):
        size = f'width="{max(0.0, shape.width):.1f}" height="{max(0.0, shape.height):.1f}"'
        return f'<rect x="{shape.left:.1f}" y="{shape.top:.1f}" {size} fill="{colour}"/>'
    if isinstance(shape, Dot):
        return f'<circle cx="{shape.x:.1f}" cy="{shape.y:.1f}" r="{shape.radius:g}" fill="{colour}"/>'
    place = f'x="{shape.x:.1f}" y="{shape.y:.1f}" text-anchor="{shape.anchor}" font-size="{shape.size:g}"'
    return f'<text {place} fill="{colour}">{escape(shape.text)}</text>'


class _Pixels:
    """Draws shapes with OpenCV, which counts in whole pixels and fractions of 1/16."""

    _BITS = 4
    _FONT = cv2.FONT_HERSHEY_SIMPLEX
    _FONT_HEIGHT = 30.0  # pixels that a line of the font takes at scale 1

    def __init__(self, pixels: np.ndarray, scale: float, head: float) -> None:
        self._pixels, self._scale, self._head = pixels, scale, head

    def draw(self, shape: Shape) -> None:
        colour = _rgb(PALETTE[shape.colour][0])
        if isinstance(shape, Line):
            self._line(shape, colour)
        elif isinstance(shape, Box):
            corners = ((shape.left, shape.top), (shape.left + shape.width, shape.top + shape.height))
            (left, top), (right, bottom) = (self._place(*corner) for corner in corners)
            if right > left and bottom > top:
                shift = 1 << self._BITS
                cv2.rectangle(self._pixels, (left, top), (right - shift, bottom - shift), colour, -1, shift=self._BITS)
        elif isinstance(shape, Dot):
            radius = round(shape.radius * self._scale * (1 << self._BITS))
            cv2.circle(self._pixels, self._place(shape.x, shape.y), radius, colour, -1, cv2.LINE_AA, self._BITS)
        else:
            self._label(shape, colour)

    def _place(self, x: float, y: float) -> tuple[int, int]:
        unit = self._scale * (1 << self._BITS)
        return round(x * unit), round((y + self._head) * unit)

    def _line(self, shape: Line, colour: tuple[int, int, int]) -> None:
        width = max(1, round(shape.width * self._scale))
        pieces = _dashes(shape.points) if shape.dashed else pairwise(shape.points)
        for start, end in pieces:
            ends = self._place(*start), self._place(*end)
            cv2.line(self._pixels, *ends, colour, width, cv2.LINE_AA, self._BITS)

    def _label(self, shape: Label, colour: tuple[int, int, int]) -> None:
        text = shape.text.encode("ascii", "replace").decode()  # the font has no other signs
        size = shape.size * self._scale / self._FONT_HEIGHT
        width = max(1, round(self._scale * shape.size / 20))
        (length, _), _ = cv2.getTextSize(text, self._FONT, size, width)
        left = shape.x * self._scale - length * {"start": 0.0, "middle": 0.5, "end": 1.0}[shape.anchor]
        place = (round(left), round((shape.y + self._head) * self._scale))
        cv2.putText(self._pixels, text, place, self._FONT, size, colour, width, cv2.LINE_AA)


def _dashes(points: Sequence[tuple[float, float]], length: float = 4.0) -> list[tuple[tuple[float, float], ...]]:
    """Cut straight pieces into dashes and leave out every second one."""
    kept: list[tuple[tuple[float, float], ...]] = []
    for (x0, y0), (x1, y1) in pairwise(points):
        count = max(1, int(np.hypot(x1 - x0, y1 - y0) / length))
        at = [(x0 + (x1 - x0) * step / count, y0 + (y1 - y0) * step / count) for step in range(count + 1)]
        kept += list(zip(at[::2], at[1::2], strict=False))
    return kept
