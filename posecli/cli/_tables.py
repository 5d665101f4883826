"""Reports as tables for people and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import rich.table
from rich.text import Text

from posecli.evaluation.report import rounded
from posecli.evaluation.tables import Table, coco_table

if TYPE_CHECKING:
    from posecli.evaluation import Comparison, EvalReport


def scores_table(report: EvalReport, title: str | None = None) -> rich.table.Table:
    """Show COCO's ten numbers and what they are about; `report.notes` are left to the caller's stderr."""
    table = shown(coco_table("OKS", {"": report.scores}), "\n".join(_caption(report)))
    table.title = Text(title) if title else None  # a file name may look like markup
    return table


def shown(table: Table, caption: str | None = None) -> rich.table.Table:
    """Return a table for the terminal; its title heads the first column."""
    drawn = rich.table.Table(caption=caption or table.caption or None, caption_justify="left")
    drawn.add_column(table.title)
    for heading in table.headings:
        drawn.add_column(heading, justify="right")
    for row in table.rows:
        drawn.add_row(*row)
    return drawn


def comparison_table(comparison: Comparison) -> rich.table.Table:
    """Show whether the second results are better."""
    low, high = comparison.interval.low, comparison.interval.high
    draws = f"{comparison.share_better:.0%} of {comparison.num_resamples} draws better"
    row = (draws, f"{comparison.difference:+.3f}", f"{low:+.3f} to {high:+.3f}")
    return shown(Table("b against a", ("AP difference", "95% interval"), (row,), comparison.verdict))


def as_json(reports: Sequence[EvalReport], comparison: Comparison | None = None) -> str:
    """Return one report, or two and their comparison as a, b and comparison, as one line of JSON."""
    values = [report.as_dict() for report in reports]
    if len(values) == 1:
        return json.dumps(values[0], ensure_ascii=False)
    a, b = values
    compared = comparison and rounded(asdict(comparison))
    return json.dumps({"a": a, "b": b, "comparison": compared}, ensure_ascii=False)


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
    false = report.false_people
    if false and false.num_images:
        lines.append(f"{false.per_image['0']:.2f} false people an image on the {false.num_images} empty ones")
    return lines
