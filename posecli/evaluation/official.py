"""COCO's ten numbers as pycocotools itself computes them, over what has been checked.

Every published figure comes from that code, so ours does, too; `matching` is held to it and serves everything else.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from posecli.errors import InputError
from posecli.evaluation.coco_scores import CocoScores
from posecli.evaluation.results import Results
from posecli.evaluation.truth import GroundTruth
from posecli.media.checked_json import Record


def keypoint_scores(truth: GroundTruth, results: Results) -> CocoScores:
    """Score poses as COCO does. No poses at all score 0.

    Raises:
        InputError: when nobody is annotated with keypoints.
    """
    if not truth.num_people:
        raise InputError(f"{truth.name}: nobody has keypoints, so there is nothing to score poses against")
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        people = _truth(truth)
        evaluation = COCOeval(people, _results(people, results.poses), "keypoints")
        evaluation.params.kpt_oks_sigmas = np.array(truth.layout.oks_sigmas)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    numbers = [float(value) for value in evaluation.stats]
    ap, ap50, ap75, ap_medium, ap_large, ar, ar50, ar75, ar_medium, ar_large = numbers
    return CocoScores(
        ap=ap,
        ap50=ap50,
        ap75=ap75,
        ap_medium=_there(ap_medium),
        ap_large=_there(ap_large),
        ar=ar,
        ar50=ar50,
        ar75=ar75,
        ar_medium=_there(ar_medium),
        ar_large=_there(ar_large),
        num_images=len(truth.images),
        num_people=truth.num_people,
        num_results=len(results.poses),
    )


def _there(value: float) -> float | None:
    """Return None where pycocotools says -1: nobody of that size is annotated."""
    return None if value < 0 else value


def _truth(truth: GroundTruth) -> COCO:
    """Return a copy for pycocotools, which writes into what it is given."""
    people = COCO()
    people.dataset = {
        "images": [{"id": image["id"]} for image in truth.images],
        "categories": [{"id": truth.category_id, "name": "person"}],
        # Ids count from 1: pycocotools takes a match with annotation 0 for no match.
        "annotations": [{**record, "id": index} for index, record in enumerate(truth.annotations, start=1)],
    }
    people.createIndex()
    return people


def _results(people: COCO, poses: Iterable[Record]) -> COCO:
    copies = [dict(pose) for pose in poses]
    if copies:
        return people.loadRes(copies)
    nobody = COCO()  # loadRes([]) is an IndexError
    nobody.dataset = {**people.dataset, "annotations": []}
    nobody.createIndex()
    return nobody
