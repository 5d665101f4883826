"""What an evaluation found, in one record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import numpy as np

from posecli.evaluation.bootstrap import Interval, intervals
from posecli.evaluation.breakdown import Breakdown, breakdown
from posecli.evaluation.coco_scores import COCO_NAMES, BoxScores, CocoScores, Scored
from posecli.evaluation.false_people import FalsePeople, false_people
from posecli.evaluation.official import keypoint_scores
from posecli.evaluation.results import Results
from posecli.media.checked_json import Record

_BOX_NAMES = {
    "ap": "box_AP", "ap50": "box_AP50", "ap75": "box_AP75", "ar_100": "box_AR100", "ar_100_iou50": "box_AR100_IoU50",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalReport:
    """Everything that one evaluation found."""

    scores: CocoScores
    num_annotated: int  # people, without keypoints included and crowds not
    refiner_runs: int | None = None  # None where poses came from a file
    boxes: BoxScores | None = None
    false_people: FalsePeople | None = None
    intervals: Mapping[str, Interval] = field(default_factory=dict)  # of ap, ap50, ap75, ar
    breakdown: Breakdown | None = None
    notes: tuple[str, ...] = ()

    @property
    def refiner_runs_per_person(self) -> float | None:
        """The paper's count: refiner runs / annotated people."""
        if self.refiner_runs is None or not self.num_annotated:
            return None
        return self.refiner_runs / self.num_annotated

    def as_dict(self) -> Record:
        """Return plain values for JSON, under COCO's names, rounded to four decimals."""
        named = self.scores.as_dict()
        named |= {"num_annotated": self.num_annotated, "refiner_runs": self.refiner_runs}
        named["refiner_runs_per_person"] = self.refiner_runs_per_person
        if self.boxes:
            named |= {_BOX_NAMES[name]: value for name, value in asdict(self.boxes).items()}
        if self.false_people:
            named["false_people"] = asdict(self.false_people)
        if self.intervals:
            named["intervals"] = {COCO_NAMES[name]: [value.low, value.high] for name, value in self.intervals.items()}
        if self.breakdown:
            named["breakdown"] = self.breakdown.as_dict()
        return {name: rounded(value) for name, value in named.items()} | {"notes": list(self.notes)}


def rounded(value: object) -> object:
    """Round all numbers inside to four decimals; finer digits of a score are noise."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(item) for item in value]
    return value


def examine(
    scored: Scored, results: Results, *, samples: np.ndarray | None = None, with_breakdown: bool = False
) -> EvalReport:
    """Return COCO's numbers of matched poses, and what else is asked for.

    Args:
        scored: `results` matched with their ground truth.
        results: for the count of poses and their notes.
        samples: from `resample`, for 95% intervals; default: no intervals.
        with_breakdown: compute all breakdowns.
    """
    return EvalReport(
        scores=keypoint_scores(scored.packed.truth, results),
        num_annotated=scored.packed.truth.num_annotated,
        false_people=false_people(scored.packed),
        intervals={} if samples is None else intervals(samples),
        breakdown=breakdown(scored) if with_breakdown else None,
        notes=(*scored.packed.truth.notes, *results.notes),
    )
