"""Reports as tables for people and as JSON for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from posecli.evaluation import EvalReport


def scores_table(report: EvalReport) -> Table:
    """Show COCO's ten numbers and what they are about; `report.notes` are left to the caller's stderr."""
    scores = report.scores
    table = Table(caption="\n".join(_caption(report)), caption_justify="left")
    table.add_column("OKS")
    for heading in (".50:.95", ".50", ".75", "medium", "large"):
        table.add_column(heading, justify="right")
    rows = {
        "AP": (scores.ap, scores.ap50, scores.ap75, scores.ap_medium, scores.ap_large),
        "AR": (scores.ar, scores.ar50, scores.ar75, scores.ar_medium, scores.ar_large),
    }
    for name, values in rows.items():
        table.add_row(name, *("-" if value is None else f"{value:.3f}" for value in values))
    return table


def as_json(report: EvalReport) -> str:
    """Return the report as one line of JSON."""
    return json.dumps(report.as_dict(), ensure_ascii=False)


def _caption(report: EvalReport) -> list[str]:
    scores = report.scores
    lines = [f"{scores.num_results} poses, {scores.num_people} labelled people, {scores.num_images} images"]
    runs = report.refiner_runs_per_person
    if runs is not None:
        lines.append(f"{runs:.2f} refiner runs per person ({report.refiner_runs} / {report.num_annotated})")
    if report.boxes:
        lines.append(f"boxes at IoU .5: AP {report.boxes.ap50:.3f}, AR@100 {report.boxes.ar_100_iou50:.3f}")
    return lines
