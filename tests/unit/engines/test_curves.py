"""A run's curves are drawn where its numbers are."""

from __future__ import annotations

import cv2
import pytest

from posecli.engines.curves import curves_chart, draw_curves, round_levels, smooth, ticks
from posecli.evaluation.canvas import Label, Line
from posecli.training.run_folder import RunFolder


def rows(count=30, losses=("a", "b")):
    made = []
    for step in range(1, count + 1):
        row = {"step": step, "samples": 100 * step, "loss": 2.0 / step}
        row |= {f"loss_{name}": 1.0 / step for name in losses}
        made.append(row | ({"score": 0.5, "AP": 0.02 * step} if step % 10 == 0 else {}))
    return made


def test_a_chart_has_a_line_for_each_loss_and_score_and_says_what_the_axes_are():
    chart = curves_chart(rows())

    lines = [shape for shape in chart.shapes if isinstance(shape, Line) and shape.colour != "grid"]
    labels = [shape.text for shape in chart.shapes if isinstance(shape, Label)]
    assert sorted(len(line.points) for line in lines) == [3, 30, 30, 30]
    assert {"sum", "a", "b", "AP"} <= set(labels)
    assert "score" not in labels
    assert labels.count("samples seen") == 2
    assert any("logarithmic" in label for label in labels)
    inside = [(x, y) for line in lines for x, y in line.points]
    assert all(0 < x < chart.width and 0 < y < chart.height for x, y in inside)
    score = next(line for line in lines if len(line.points) == 3)
    assert [y for _, y in score.points] == sorted((y for _, y in score.points), reverse=True)  # it rises


def test_only_as_many_losses_are_drawn_as_have_room():
    labels = [shape.text for shape in curves_chart(rows(losses="abcdefgh")).shapes if isinstance(shape, Label)]

    assert [name for name in labels if len(name) == 1 and name.isalpha()] == list("hgfed")


def test_nothing_is_drawn_before_there_is_something(tmp_path):
    RunFolder(tmp_path).log_path.write_text("torn\n")

    assert draw_curves(tmp_path) is None
    assert curves_chart([]) is None
    assert (
        curves_chart([{"step": 1, "samples": 4, "loss": 0.0, "loss_a": float("nan"), "AP": float("nan")}]) is not None
    )


def test_the_picture_can_be_read(tmp_path):
    folder = RunFolder(tmp_path)
    for step in (20, 40):
        folder.add({"step": step, "samples": step, "losses": {"a": 1.0 / step}})

    picture = cv2.imread(str(draw_curves(tmp_path)))

    assert min(picture.shape[:2]) > 400
    assert len({tuple(pixel) for pixel in picture.reshape(-1, 3).tolist()}) > 10


def test_means_run_over_the_last_values():
    assert smooth([(1, 2.0), (2, 4.0), (3, 9.0)], span=2) == ((1, 2.0), (2, 3.0), (3, 6.5))


@pytest.mark.parametrize(
    ("low", "high", "wanted"), [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0, 115200, [0, 50000, 100000]), (0, 0, [0])]
)
def test_ticks_are_round_numbers(low, high, wanted):
    assert ticks(low, high) == wanted


def test_levels_are_one_two_and_five():
    assert round_levels(0.15, 6) == [0.2, 0.5, 1.0, 2.0, 5.0]
