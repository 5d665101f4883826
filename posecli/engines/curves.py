"""How a training went, as a picture: losses and the score on held-out people against the samples seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from posecli.evaluation.canvas import FONT_SIZE, Chart, Dot, Label, Line, Shape
from posecli.evaluation.publish import write_plots
from posecli.training.run_folder import RunFolder, curve_rows

_WIDTH, _LEFT, _RIGHT = 560.0, 56.0, 540.0
_TALL, _GAP = 170.0, 58.0
_COLOURS = ("blue", "orange", "green", "red", "sky", "muted")
_MOST = 5  # losses drawn beside their sum, the last ones: there is room for the names of no more
_NO_SCORES = {"step", "samples", "seconds", "learning_rate", "loss", "score"}  # `score` is one of the others again
_SMOOTH = 25  # losses of one batch each jump: the mean of so many records is drawn

Point = tuple[float, float]


@dataclass(frozen=True)
class Curve:
    """One series over the samples seen."""

    name: str
    points: tuple[Point, ...]  # samples and value


def draw_curves(folder: Path) -> Path | None:
    """Draw a run folder's log as `curves.png` there; return its path, None while there is nothing to draw."""
    chart = curves_chart(curve_rows(RunFolder(folder).records()))
    return write_plots(folder, [chart])[0] if chart else None


def curves_chart(rows: Sequence[dict[str, float]]) -> Chart | None:
    """Return the chart of a run's rows, as `curves.csv` has them; None without any loss."""
    losses = [Curve("sum", smooth(_points(rows, "loss")))]
    names = dict.fromkeys(name for row in rows for name in row)
    losses += [
        Curve(name.removeprefix("loss_"), smooth(_points(rows, name))) for name in names if name.startswith("loss_")
    ]
    losses = [curve for curve in losses if curve.points]
    losses = [*losses[:1], *losses[1:][-_MOST:]]
    if not losses:
        return None
    scores = [
        Curve(name, _points(rows, name)) for name in names if name not in _NO_SCORES and not name.startswith("loss_")
    ]
    scores = [curve for curve in scores if curve.points]
    last = max(row["samples"] for row in rows)
    top = 34.0
    shapes = _plot(losses, top, last, f"loss, mean of {_SMOOTH} records (logarithmic)", logarithmic=True)
    height = top + _TALL + _GAP
    if scores:
        shapes += _plot(scores, height + 16, last, "score on held-out people (0 to 1)")
        height += 16 + _TALL + _GAP
    said = ", ".join(f"{curve.name} {curve.points[-1][1]:.3g}" for curve in (*losses[:1], *scores))
    return Chart("curves", f"Training, {int(last)} samples", f"At the end: {said}", _WIDTH, height, tuple(shapes))


def _points(rows: Sequence[dict[str, float]], name: str) -> tuple[Point, ...]:
    return tuple((row["samples"], row[name]) for row in rows if math.isfinite(row.get(name, math.nan)))


def smooth(points: Sequence[Point], span: int = _SMOOTH) -> tuple[Point, ...]:
    """Return the running mean of the values, of up to `span` points that end at each."""
    means = []
    for index, (x, _) in enumerate(points):
        near = [value for _, value in points[max(0, index - span + 1) : index + 1]]
        means.append((x, sum(near) / len(near)))
    return tuple(means)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return about so many round numbers from `low` to `high`."""
    rough = max(high - low, 1e-9) / count
    power = 10 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 10) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def round_levels(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times the powers of ten from `low` to `high`, both above 0."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    levels = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    return [level for level in levels if low <= level <= high]


def _plot(curves: Sequence[Curve], top: float, last: float, name: str, *, logarithmic: bool = False) -> list[Shape]:
    """Draw one plot: grid, ticks, names, curves, and which is which."""
    values = [value for curve in curves for _, value in curve.points if value > 0 or not logarithmic]
    scale = math.log10 if logarithmic else float
    low = scale(min(values)) if logarithmic and values else 0.0
    high = max(scale(max(values)) if values else 1.0, low + 1e-3)
    low, high = (low - 0.05 * (high - low), high) if logarithmic else (0.0, high * 1.05)

    def place(x: float, y: float) -> Point:
        part = (scale(y) - low) / (high - low)
        return _LEFT + x / max(last, 1.0) * (_RIGHT - _LEFT), top + _TALL - part * _TALL

    levels = round_levels(10**low, 10**high) if logarithmic else ticks(low, high)
    shapes: list[Shape] = [Label(6, top - 12, name)]
    for level in levels:
        _, y = place(0, level)
        shapes += [Line(((_LEFT, y), (_RIGHT, y)), "grid", 1), Label(_LEFT - 6, y + 4, f"{level:.3g}", anchor="end")]
    for tick in ticks(0, last):
        x, _ = place(tick, 10**low if logarithmic else 0)
        shapes += [
            Line(((x, top), (x, top + _TALL)), "grid", 1),
            Label(x, top + _TALL + 16, _thousands(tick), anchor="middle"),
        ]
    shapes.append(Label(_LEFT, top + _TALL + 32, "samples seen"))
    left = _RIGHT
    for number, curve in reversed(list(enumerate(curves))):
        colour = _COLOURS[number % len(_COLOURS)]
        drawn = tuple(place(x, y) for x, y in curve.points if y > 0 or not logarithmic)
        shapes.append(Line(drawn, colour, 1.5))
        shapes += [Dot(*drawn[-1], 2.5, colour)] if drawn else []
        shapes.append(Label(left, top + _TALL + 32, curve.name, colour, anchor="end"))
        left -= 0.62 * FONT_SIZE * len(curve.name) + 10
    return shapes


def _thousands(value: float) -> str:
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"
