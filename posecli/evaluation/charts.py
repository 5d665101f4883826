"""The charts of an evaluation: what `--report` shows and `--plots` writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from posecli.evaluation.breakdown import Breakdown, Group
from posecli.evaluation.calibration import Calibration
from posecli.evaluation.canvas import FONT_SIZE, Box, Chart, Dot, Label, Line, Shape
from posecli.evaluation.coco_scores import Scored
from posecli.evaluation.error_types import ErrorTypes
from posecli.evaluation.matching import RECALLS, THRESHOLDS

_WIDTH = 420.0
_ERROR_COLOURS = {"good": "quiet", "jitter": "sky", "inversion": "orange", "swap": "green", "miss": "red"}
_ROW = 19.0
_NAME_WIDTH = 104.0


def charts(scored: Scored, breakdown: Breakdown) -> Iterator[Chart]:
    """Yield all charts of matched poses."""
    yield precision_recall(scored)
    yield reliability(breakdown.calibration)
    yield keypoint_bars(breakdown.by_keypoint)
    yield error_bars(breakdown.errors)
    yield group_bars("size", "AP by size, sqrt(area)", breakdown.by_size)
    yield group_bars("num_keypoints", "AP by labelled keypoints", breakdown.by_num_keypoints)
    yield group_bars("crowding", "AP by largest overlap with somebody else", breakdown.by_crowding)
    if breakdown.by_crowd_index:
        yield group_bars("crowd_index", "AP by CrowdPose's crowd index", breakdown.by_crowd_index)


class _Square:
    """A plot whose axes both go from 0 to 1."""

    left, top, right, bottom = 40.0, 28.0, 408.0, 280.0

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Return where a value lies in the chart."""
        return self.left + x * (self.right - self.left), self.bottom - y * (self.bottom - self.top)

    def axes(self, x_name: str, y_name: str) -> list[Shape]:
        """Return grid, ticks and names; the name of the upright axis lies on top of it, to be read without turning."""
        shapes: list[Shape] = [Label(6, self.top - 14, y_name)]
        for tick in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
            x, y = self.place(tick, tick)
            shapes.append(Line(((x, self.top), (x, self.bottom)), "grid", 1))
            shapes.append(Line(((self.left, y), (self.right, y)), "grid", 1))
            shapes.append(Label(x, self.bottom + 16, f"{tick:g}", anchor="middle"))
            shapes.append(Label(self.left - 6, y + 4, f"{tick:g}", anchor="end"))
        return [*shapes, Label((self.left + self.right) / 2, self.bottom + 34, x_name, anchor="middle")]


def precision_recall(scored: Scored) -> Chart:
    """Draw precision over recall, a curve for each OKS threshold."""
    plot = _Square()
    shapes = plot.axes("recall", "precision")
    for level, precision in reversed(list(enumerate(scored.curves.precision.tolist()))):
        reached = [plot.place(x, y) for x, y in zip(RECALLS.tolist(), precision, strict=True) if y]
        if reached:
            shapes.append(Line((*reached, (reached[-1][0], plot.bottom)), f"step{level}", 2))
    shapes.append(Label(6, plot.bottom + 60, "OKS"))
    for level, threshold in enumerate(THRESHOLDS):
        x, y = 44 + 76 * (level % 5), plot.bottom + 60 + 18 * (level // 5)
        shapes += [Line(((x, y - 4), (x + 20, y - 4)), f"step{level}", 3), Label(x + 26, y, f"{threshold:.2f}")]
    said = ", ".join(f"AP {scored.curves.ap_at(level):.2f} at OKS {oks:.2f}" for level, oks in enumerate(THRESHOLDS))
    return Chart("precision_recall", "Precision over recall", said, _WIDTH, 366, tuple(shapes))


def reliability(calibration: Calibration) -> Chart:
    """Draw how often poses of a score are right, against the score; below, how many poses there are."""
    plot = _Square()
    shapes = plot.axes("score of the pose", "share that is right (OKS .5)")
    most = max((item.num_poses for item in calibration.bins), default=1)
    floor, tall = plot.bottom + 92.0, 40.0
    for item in calibration.bins:
        left, top = plot.place(item.low, item.share_right)
        right, _ = plot.place(item.high, 0)
        shapes.append(Box(left + 1, top, right - left - 2, plot.bottom - top, "blue"))
        height = tall * item.num_poses / most
        shapes.append(Box(left + 1, floor - height, right - left - 2, height, "quiet"))
        shapes.append(Label((left + right) / 2, floor + 13, str(item.num_poses), anchor="middle", size=10))
    shapes.append(Line((plot.place(0, 0), plot.place(1, 1)), "ink", 1.5, dashed=True))
    shapes += [Dot(*plot.place(item.score, item.share_right), 4, "orange") for item in calibration.bins]
    shapes.append(Label(plot.left - 6, floor, "poses", anchor="end", size=10))
    said = f"calibration error {calibration.error:.3f}" if calibration.error is not None else "no poses"
    return Chart("reliability", f"What a score means: {said}", _described(calibration), _WIDTH, 390, tuple(shapes))


def keypoint_bars(groups: Sequence[Group]) -> Chart:
    """Draw AP keypoint by keypoint."""
    return _rows("keypoints", "AP by keypoint, each as if the only one", groups)


def group_bars(name: str, title: str, groups: Sequence[Group]) -> Chart:
    """Draw AP of groups of people."""
    return _rows(name, title, groups)


def error_bars(errors: ErrorTypes) -> Chart:
    """Draw the shares of every kind of error, keypoint by keypoint."""
    names = list(errors.by_keypoint)
    shapes: list[Shape] = []
    left, right = _NAME_WIDTH, _WIDTH - 12
    for row, name in enumerate(names):
        y, x = 10 + _ROW * row, left
        shapes.append(_name(name, y))
        for kind, share in errors.by_keypoint[name].items():
            width = share * (right - left)
            shapes.append(Box(x, y + 2, width - 0.5, _ROW - 4, _ERROR_COLOURS[kind]))
            x += width
    foot = 10 + _ROW * len(names) + 18
    for place, (kind, colour) in enumerate(_ERROR_COLOURS.items()):
        x = 14 + place * 80
        shapes += [Box(x, foot - 9, 11, 11, colour), Label(x + 16, foot, kind)]
    said = "; ".join(f"{kind.name} {kind.share:.1%}" for kind in errors.kinds)
    return Chart(
        "errors", "What is wrong with keypoints", f"good {errors.good:.1%}; {said}", _WIDTH, foot + 10, tuple(shapes)
    )


def _rows(name: str, title: str, groups: Sequence[Group]) -> Chart:
    """Draw a horizontal bar of AP a group, with its number and the number of people."""
    shapes: list[Shape] = []
    left, right = _NAME_WIDTH, _WIDTH - 90
    bottom = 10 + _ROW * len(groups)
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = left + tick * (right - left)
        shapes += [Line(((x, 8), (x, bottom)), "grid", 1), Label(x, bottom + 14, f"{tick:g}", anchor="middle", size=10)]
    shapes.append(Label(_WIDTH - 6, bottom + 14, "people", anchor="end", size=10))
    for row, group in enumerate(groups):
        y = 10 + _ROW * row
        end = left + group.ap * (right - left)
        shapes += [
            _name(group.name, y),
            Box(left, y + 3, end - left, _ROW - 6, "blue"),
            Label(end + 5, y + _ROW - 5, f"{group.ap:.3f}", "ink"),
            Label(_WIDTH - 6, y + _ROW - 5, str(group.num_people), anchor="end", size=10),
        ]
    said = ", ".join(f"{group.name} {group.ap:.3f}" for group in groups)
    return Chart(name, title, said, _WIDTH, bottom + 22, tuple(shapes))


def _name(name: str, y: float) -> Label:
    return Label(_NAME_WIDTH - 8, y + _ROW - 5, name.replace("_", " "), "ink", anchor="end", size=FONT_SIZE)


def _described(calibration: Calibration) -> str:
    return ", ".join(f"score {item.score:.2f}: {item.share_right:.0%} right" for item in calibration.bins)
