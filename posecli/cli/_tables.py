"""Reports as tables for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from posecli.evaluation import Breakdown, Comparison, EvalReport
    from posecli.evaluation.breakdown import Group

_SCORE_HEADINGS = (".50:.95", ".50", ".75", "medium", "large")


def scores_table(report: EvalReport, title: str | None = None) -> Table:
    """Show COCO's ten numbers and what they are about; `report.notes` are left to the caller's stderr."""
    table = _table("OKS", *_SCORE_HEADINGS, caption="\n".join(_caption(report)))
    table.title = Text(title) if title else None  # a file name may look like markup
    for name, values in report.scores.rows().items():
        table.add_row(name, *map(_shown, values))
    return table


def breakdown_tables(breakdown: Breakdown) -> Iterator[Table]:
    """Show all breakdowns."""
    yield _groups_table("keypoint, as if the only one", breakdown.by_keypoint)
    yield _visibility_table(breakdown)
    yield _groups_table("size, sqrt(area)", breakdown.by_size)
    yield _groups_table("labelled keypoints", breakdown.by_num_keypoints)
    yield _groups_table("crowding, largest box IoU", breakdown.by_crowding)
    if breakdown.by_crowd_index:
        yield _groups_table("CrowdPose's crowd index", breakdown.by_crowd_index)
    yield _pck_table(breakdown)
    yield _errors_table(breakdown)
    yield _calibration_table(breakdown)


def comparison_table(comparison: Comparison) -> Table:
    """Show whether the second results are better."""
    table = _table("b against a", "AP difference", "95% interval", caption=comparison.verdict)
    low, high = comparison.interval.low, comparison.interval.high
    table.add_row(
        f"{comparison.share_better:.0%} of {comparison.num_resamples} draws better",
        f"{comparison.difference:+.3f}",
        f"{low:+.3f} to {high:+.3f}",
    )
    return table


def as_json(reports: Sequence[EvalReport], comparison: Comparison | None = None) -> str:
    """Return one report, or two and their comparison as a, b and comparison, as one line of JSON."""
    values = [report.as_dict() for report in reports]
    if len(values) == 1:
        return json.dumps(values[0], ensure_ascii=False)
    a, b = values
    compared = comparison and {
        name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(comparison).items()
    }
    return json.dumps({"a": a, "b": b, "comparison": compared}, ensure_ascii=False)


def _table(*headings: str, caption: str | None = None) -> Table:
    table = Table(caption=caption, caption_justify="left")
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="right" if index else "left")
    return table


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _caption(report: EvalReport) -> list[str]:
    scores = report.scores
    lines = [f"{scores.num_results} poses, {scores.num_people} labelled people, {scores.num_images} images"]
    if report.intervals:
        ap = report.intervals["ap"]
        lines.append(f"95% interval of AP: {ap.low:.3f} to {ap.high:.3f}")
    runs = report.refiner_runs_per_person
    if runs is not None:
        lines.append(f"{runs:.2f} refiner runs per person ({report.refiner_runs} / {report.num_annotated})")
    if report.boxes:
        boxes = report.boxes
        lines.append(f"boxes: AP {boxes.ap:.3f}, AR@100 {boxes.ar_100:.3f}; at IoU .5:")
        lines.append(f"       AP {boxes.ap50:.3f}, AR@100 {boxes.ar_100_iou50:.3f}")
    if report.breakdown and report.breakdown.false_people.num_images:
        false = report.breakdown.false_people
        lines.append(f"{false.per_image['0']:.2f} false people an image on the {false.num_images} empty ones")
    return lines


def _groups_table(heading: str, groups: Sequence[Group]) -> Table:
    table = _table(heading, "people", "AP", "AP .50", "AR", "mean OKS")
    for group in groups:
        values = (group.ap, group.ap50, group.ar, group.oks)
        table.add_row(group.name.replace("_", " "), str(group.num_people), *map(_shown, values))
    return table


def _visibility_table(breakdown: Breakdown) -> Table:
    headings = (f"{name} {oks}" for name in ("AP", "AR") for oks in _SCORE_HEADINGS[:3])
    table = _table("keypoints", *headings)
    for name, scores in (("visible", breakdown.visible), ("hidden", breakdown.hidden)):
        if scores:
            table.add_row(name, *(_shown(value) for values in scores.rows().values() for value in values[:3]))
    return table


def _pck_table(breakdown: Breakdown) -> Table:
    pck = breakdown.pck
    table = _table("PCK", *(f"@{share}" for share in pck.at), caption=f"distance / {pck.normaliser}")
    table.add_row(f"{pck.num_keypoints} keypoints", *map(_shown, pck.at.values()))
    return table


def _errors_table(breakdown: Breakdown) -> Table:
    errors = breakdown.errors
    table = _table("error (Ronchi & Perona)", "share", "AP without it")
    table.add_row("none", _shown(errors.good), "")
    for kind in errors.kinds:
        table.add_row(kind.name, _shown(kind.share), _shown(kind.ap_without))
    return table


def _calibration_table(breakdown: Breakdown) -> Table:
    error = breakdown.calibration.error
    caption = None if error is None else f"calibration error {error:.3f}"
    table = _table("score", "poses", "mean score", "share right", caption=caption)
    for item in breakdown.calibration.bins:
        table.add_row(
            f"{item.low:.1f} to {item.high:.1f}", str(item.num_poses), _shown(item.score), _shown(item.share_right)
        )
    return table
