"""Charts show the numbers that they are made of."""

import pytest

from coco_people import make_results
from posecli.evaluation import check_results, pack, score
from posecli.evaluation.canvas import Box, Dot, Label, Line
from posecli.evaluation.charts import charts, error_bars, keypoint_bars, precision_recall, reliability


def shapes_of(chart, kind):
    return [shape for shape in chart.shapes if isinstance(shape, kind)]


def test_all_charts_have_names_of_their_own_and_stay_inside(scored, report):
    drawn = list(charts(scored, report.breakdown))

    names = [chart.name for chart in drawn]
    assert sorted(set(names)) == sorted(names)
    assert {"precision_recall", "reliability", "keypoints", "errors", "size", "num_keypoints", "crowding"} == set(names)
    for chart in drawn:
        for label in shapes_of(chart, Label):
            assert 0 <= label.x <= chart.width, (chart.name, label)
            assert 0 < label.y <= chart.height, (chart.name, label)
        for box in shapes_of(chart, Box):
            assert 0 <= box.left <= box.left + max(0, box.width) <= chart.width, (chart.name, box)
            assert 0 <= box.top <= box.top + box.height <= chart.height, (chart.name, box)


def test_bars_are_as_long_as_ap(report):
    chart = keypoint_bars(report.breakdown.by_keypoint)

    bars, groups = shapes_of(chart, Box), report.breakdown.by_keypoint
    assert len(bars) == len(groups) == 17
    ratios = [bar.width / group.ap for bar, group in zip(bars, groups, strict=True)]
    assert ratios == pytest.approx([ratios[0]] * 17)
    assert [label.text for label in shapes_of(chart, Label)].count(f"{groups[3].ap:.3f}") >= 1


def test_error_bars_of_every_keypoint_are_equally_long(report):
    chart = error_bars(report.breakdown.errors)

    legend = 5
    lengths = {}
    for bar in shapes_of(chart, Box)[:-legend]:
        lengths[bar.top] = max(lengths.get(bar.top, 0), bar.left + bar.width)
    assert len(lengths) == 17
    assert max(lengths.values()) - min(lengths.values()) < 1


def test_a_curve_ends_where_recall_does(scored):
    chart = precision_recall(scored)

    legend = 2  # points of a line
    curves = {line.colour: line.points for line in shapes_of(chart, Line) if len(line.points) > legend}
    assert len(curves) == 9  # nobody is found at OKS .95
    assert {points[-1][1] for points in curves.values()} == {280.0}  # all fall to the axis
    ends = [curves[f"step{level}"][-1][0] for level in range(9)]
    assert ends == sorted(ends, reverse=True)
    assert ends[0] > ends[-1]


def test_dots_stand_at_the_mean_score_of_each_bin(report):
    chart = reliability(report.breakdown.calibration)

    dots, bins = shapes_of(chart, Dot), report.breakdown.calibration.bins
    assert len(dots) == len(bins) > 3
    assert [dot.x for dot in dots] == sorted(dot.x for dot in dots)
    assert (dots[0].y > dots[-1].y) == (bins[0].share_right < bins[-1].share_right) or dots[0].y == dots[-1].y


def test_charts_of_nobody_found_can_be_drawn(ground_truth, dataset):
    from posecli.evaluation import breakdown

    found = score(pack(ground_truth, check_results([], ground_truth)))
    assert make_results(dataset)

    assert [chart.title for chart in charts(found, breakdown(found))][1] == "What a score means: no poses"
