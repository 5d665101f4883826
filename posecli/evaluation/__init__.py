"""Scores of poses against ground truth, behind checks of what is given."""

from posecli.evaluation.bootstrap import Comparison, Interval, compare, intervals, resample
from posecli.evaluation.breakdown import Breakdown, breakdown
from posecli.evaluation.coco_scores import (
    BoxScores,
    CocoScores,
    Scored,
    box_recall,
    coco_scores,
    score,
)
from posecli.evaluation.official import keypoint_scores
from posecli.evaluation.packing import pack
from posecli.evaluation.report import EvalReport, examine
from posecli.evaluation.results import Results, check_results, load_results, load_results_lists
from posecli.evaluation.truth import GroundTruth, check_ground_truth, load_ground_truth

__all__ = [
    "BoxScores", "Breakdown", "CocoScores", "Comparison", "EvalReport", "GroundTruth", "Interval", "Results", "Scored",
    "box_recall", "breakdown", "check_ground_truth", "check_results", "coco_scores", "compare", "examine", "intervals",
    "keypoint_scores", "load_ground_truth", "load_results", "load_results_lists", "pack", "resample", "score",
]  # fmt: skip
