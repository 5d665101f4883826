"""The tables of an evaluation as text, for the terminal and for the page alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from posecli.evaluation.breakdown import Breakdown, Group
from posecli.evaluation.calibration import Calibration
from posecli.evaluation.coco_scores import CocoScores
from posecli.evaluation.error_types import ErrorTypes
from posecli.evaluation.pck import Pck


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text; the first column names the row, the others are numbers."""

    title: str
    headings: tuple[str, ...]  # of the numbers
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""


def coco_table(title: str, named: Mapping[str, CocoScores | None]) -> Table:
    """Return COCO's ten numbers of each of `named`; the name stands before AP and AR."""
    rows = tuple(
        (f"{name} {kind}".strip(), *map(number, values))
        for name, scores in named.items()
        if scores
        for kind, values in scores.rows().items()
    )
    return Table(title, (".50:.95", ".50", ".75", "medium", "large"), rows)


def breakdown_tables(breakdown: Breakdown) -> Iterator[Table]:
    """Yield all breakdowns, those about nobody left out."""
    yield coco_table("Visible or hidden keypoints only", {"visible": breakdown.visible, "hidden": breakdown.hidden})
    yield _errors_table(breakdown.errors)
    yield _pck_table(breakdown.pck)
    yield _calibration_table(breakdown.calibration)
    for title, groups in (
        ("Keypoint, as if the only one", breakdown.by_keypoint),
        ("Labelled keypoints", breakdown.by_num_keypoints),
        ("Size, sqrt(area)", breakdown.by_size),
        ("Largest box IoU with somebody", breakdown.by_crowding),
        ("CrowdPose's crowd index", breakdown.by_crowd_index),
    ):
        if groups:
            yield _groups_table(title, groups)


def number(value: float | None) -> str:
    """Show a score."""
    return "-" if value is None else f"{value:.3f}"


def _groups_table(title: str, groups: Sequence[Group]) -> Table:
    rows = tuple(
        (
            group.name.replace("_", " "),
            str(group.num_people),
            *map(number, (group.ap, group.ap50, group.ar, group.oks)),
        )
        for group in groups
    )
    return Table(title, ("people", "AP", "AP .50", "AR", "OKS"), rows)


def _errors_table(errors: ErrorTypes) -> Table:
    kinds = tuple((kind.name, f"{kind.share:.1%}", number(kind.ap_without)) for kind in errors.kinds)
    caption = f"{errors.num_keypoints} keypoints of the people found"
    return Table(
        "Error of a keypoint", ("share", "AP without it"), (("none", f"{errors.good:.1%}", ""), *kinds), caption
    )


def _pck_table(pck: Pck) -> Table:
    rows = tuple((f"within {at}", f"{share:.1%}") for at, share in pck.at.items())
    return Table("PCK", ("found",), rows, f"distance / {pck.normaliser}; {pck.num_keypoints} keypoints")


def _calibration_table(calibration: Calibration) -> Table:
    rows = tuple(
        (f"{item.low:.1f} to {item.high:.1f}", str(item.num_poses), number(item.score), f"{item.share_right:.1%}")
        for item in calibration.bins
    )
    caption = "" if calibration.error is None else f"calibration error {calibration.error:.3f}"
    return Table("Score", ("poses", "mean", "right"), rows, caption)
