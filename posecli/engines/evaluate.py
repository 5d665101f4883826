"""Networks over the pictures of a ground truth, and their scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from posecli.config import MergeConfig
from posecli.engines.crew import Crew
from posecli.errors import InputError
from posecli.evaluation import (
    BoxScores,
    EvalReport,
    GroundTruth,
    box_recall,
    check_results,
    keypoint_scores,
)
from posecli.evaluation.pictures import picture_path
from posecli.media.sources import read_image
from posecli.pipeline import Pipeline
from posecli.records import Frame
from posecli.stages.detect import Proposer
from posecli.stages.merge import pose_scores
from posecli.stages.refine import Refiner

Progress = Callable[[int], None]  # gets the number of pictures just finished

_DEFAULT_MERGE = MergeConfig()


def picture_frames(truth: GroundTruth, folder: Path) -> Iterator[tuple[int, Frame]]:
    """Yield the image id and the picture of every image of the ground truth.

    Raises:
        InputError: a picture is missing, unreadable, or of another size than the ground truth says.
    """
    for index, image in enumerate(truth.images):
        path = picture_path(folder, image)
        picture = read_image(path)
        height, width = picture.shape[:2]
        if (image.get("width", width), image.get("height", height)) != (width, height):
            wanted = f"{image.get('width', width)}x{image.get('height', height)}"
            raise InputError(f"{path}: {width}x{height} pixels, but the ground truth says {wanted}")
        yield (
            image["id"],
            Frame(index=index, image=picture, width=width, height=height, file_name=path.name, image_id=image["id"]),
        )


def result(
    image_id: int, keypoints: Tensor, keypoint_scores: Tensor, score: float, *, category_id: int = 1
) -> dict[str, Any]:
    """Return one person as an entry of a COCO results list, from (K, 2) image pixels and (K,) scores."""
    flat = torch.cat((keypoints, keypoint_scores[:, None]), dim=1).flatten()
    return {"image_id": image_id, "category_id": category_id, "keypoints": flat.tolist(), "score": score}


@torch.inference_mode()
def predict_true_boxes(
    truth: GroundTruth,
    pictures: Iterable[tuple[int, Frame]],
    refiner: Refiner,
    *,
    batch: int,
    merge: MergeConfig,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Run the refiner on the boxes of all people with keypoints: what it is worth without a detector."""
    boxes_of = truth.boxes(labelled=True)
    results = []
    source = iter(pictures)
    while group := list(islice(source, 8)):
        boxes = [torch.from_numpy(np.asarray(boxes_of[image_id], dtype=np.float32)) for image_id, _ in group]
        images = [frame.image for _, frame in group if frame.image is not None]
        found = refiner(images, boxes, batch=batch)
        for (image_id, _), (points, scores) in zip(group, found, strict=True):
            poses = pose_scores(scores.new_ones(len(scores)), scores, merge)
            for person, person_scores, score in zip(points, scores, poses.tolist(), strict=True):
                results.append(result(image_id, person, person_scores, score, category_id=truth.category_id))
        progress(len(group))
    return results


def evaluate_true_boxes(
    truth: GroundTruth,
    folder: Path,
    refiner: Refiner,
    *,
    batch: int,
    merge: MergeConfig = _DEFAULT_MERGE,
    progress: Progress = lambda _: None,
) -> tuple[EvalReport, list[dict[str, Any]]]:
    """Score the refiner alone, on the true boxes and COCO's keypoints; also return its results list.

    Poses are scored as the pipeline would score them in boxes that are sure.

    Raises:
        InputError: a picture is missing or unreadable.
    """
    truth = truth.in_coco_order()
    results = predict_true_boxes(
        truth, picture_frames(truth, folder), refiner, batch=batch, merge=merge, progress=progress
    )
    scores = keypoint_scores(truth, check_results(results, truth))
    return EvalReport(scores=scores, num_annotated=truth.num_annotated), results


def evaluate_pipeline(
    truth: GroundTruth, folder: Path, pipeline: Pipeline, *, progress: Progress = lambda _: None
) -> tuple[EvalReport, list[dict[str, Any]]]:
    """Score the whole pipeline on COCO's keypoints; also return its results list.

    Raises:
        InputError: a picture is missing or unreadable.
    """
    truth = truth.in_coco_order()
    ids = [image["id"] for image in truth.images]
    proposed: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    results, runs = [], 0
    with Crew(pipeline, frames=len(ids)) as crew:
        for done in crew.run(frame for _, frame in picture_frames(truth, folder)):
            image_id = ids[done.frame.index]
            runs += done.refiner_runs
            proposed[image_id] = (done.proposal_boxes.numpy(), done.proposal_scores.numpy())
            poses = done.poses
            for person, person_scores, score in zip(poses.keypoints, poses.keypoint_scores, poses.scores, strict=True):
                results.append(result(image_id, person, person_scores, float(score), category_id=truth.category_id))
            progress(1)
    boxes = box_recall(truth, proposed)
    scores = keypoint_scores(truth, check_results(results, truth))
    return EvalReport(scores=scores, num_annotated=truth.num_annotated, refiner_runs=runs, boxes=boxes), results


@torch.inference_mode()
def evaluate_proposer(truth: GroundTruth, folder: Path, proposer: Proposer) -> BoxScores:
    """Score the proposal network's boxes alone.

    Raises:
        InputError: a picture is missing or unreadable.
    """
    found = {}
    for image_id, frame in picture_frames(truth, folder):
        if frame.image is not None:
            (proposals,) = proposer([frame])
            found[image_id] = (proposals.boxes.cpu().numpy(), proposals.box_scores.cpu().numpy())
    return box_recall(truth, found)
