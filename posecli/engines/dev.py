"""How good a network in training is: one number whatever its kind, and what it is made of."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from posecli.config import DetectConfig, RefineConfig
from posecli.engines.evaluate import evaluate_proposer, evaluate_true_boxes, picture_frames, result
from posecli.evaluation import GroundTruth, check_results, keypoint_scores
from posecli.geometry.boxes import xywh_to_xyxy
from posecli.networks import ModelSpec, fuse_batch_norm
from posecli.skeleton import NUM_KEYPOINTS
from posecli.stages.detect import Proposer
from posecli.stages.refine import Refiner
from posecli.training.data import nearest_overlapping
from posecli.training.disturb import TruePoses, disturb
from posecli.training.labels import first_people


def only_first(truth: GroundTruth, people: int) -> GroundTruth:
    """Return the ground truth of the first so many people that a training would use, and of their pictures."""
    chosen = first_people(truth.annotations, people)
    kept = GroundTruth(truth.name, truth.images, tuple(chosen), truth.category_id, truth.notes)
    return kept.select({annotation["image_id"] for annotation in chosen})


def dev_scores(
    network: nn.Module, spec: ModelSpec, truth: GroundTruth, folder: Path, *, mistakes: Tensor | None = None
) -> dict[str, float]:
    """Measure a network in training, whatever its kind; `score` is the number to be best at.

    Args:
        network: unfused, on its device; not changed.
        spec: the network's.
        truth: people and boxes.
        folder: the truth's pictures.
        mistakes: (K, 4) rates that a posefix network trains with; None: the official code's.

    Raises:
        InputError: a picture is missing or unreadable.
    """
    device = next(network.parameters()).device
    ready = fuse_batch_norm(copy.deepcopy(network).eval())
    if spec.takes_prior:
        before, after = fixing_ap(truth, folder, Refiner([], RefineConfig(), device, posefix=(ready, spec)), mistakes)
        return {"score": after, "AP": after, "AP_before": before}
    if spec.kind == "refiner":
        report, _ = evaluate_true_boxes(truth, folder, Refiner([(ready, spec)], RefineConfig(), device), batch=32)
        return {"score": report.scores.ap, "AP": report.scores.ap, "AP50": report.scores.ap50}
    boxes = evaluate_proposer(truth, folder, Proposer(ready, spec, DetectConfig(min_box_score=0.01), device))
    return {"score": boxes.ap50, "box_AP50": boxes.ap50, "AR100_IoU50": boxes.ar_100_iou50}


@torch.inference_mode()
def fixing_ap(
    truth: GroundTruth, folder: Path, refiner: Refiner, mistakes: Tensor | None = None
) -> tuple[float, float]:
    """Return the AP of disturbed true poses, and of what a posefix network makes of them.

    The disturbances are those of training, the same at every call.

    Raises:
        InputError: a picture is missing or unreadable.
    """
    generator = torch.Generator().manual_seed(0)
    before: list[dict[str, Any]] = []
    after: list[dict[str, Any]] = []
    for image_id, frame in picture_frames(truth, folder):
        annotations = [annotation for annotation in truth.annotations if annotation["image_id"] == image_id]
        people = first_people(annotations, min_area=0)
        if not people or frame.image is None:
            continue
        boxes = xywh_to_xyxy(torch.tensor([annotation["bbox"] for annotation in people], dtype=torch.float32))
        poses = true_poses(people, boxes)
        points = disturb(poses, generator, mistakes)
        group = refiner.gather([frame.image], [boxes])(slice(None))
        fixed = refiner.fix(points.to(refiner.device), poses.labelled.to(refiner.device), group).cpu()
        for results, found in ((before, points), (after, fixed)):
            results += [result(image_id, person, torch.ones(NUM_KEYPOINTS), 1.0) for person in found]
    scores = [keypoint_scores(truth, check_results(results, truth)).ap for results in (before, after)]
    return scores[0], scores[1]


def true_poses(people: list[dict[str, Any]], boxes: Tensor) -> TruePoses:
    """Return the annotated poses of one picture, each with the one whose box overlaps its own most."""
    labels = torch.tensor([annotation["keypoints"] for annotation in people]).view(-1, NUM_KEYPOINTS, 3).float()
    points, labelled = labels[..., :2], labels[..., 2] > 0
    near = nearest_overlapping(boxes)
    index = torch.tensor([number if other is None else other for number, other in enumerate(near)])
    alone = torch.tensor([other is None for other in near])
    area = torch.tensor([annotation["area"] for annotation in people], dtype=torch.float32)
    return TruePoses(points, labelled, points[index], labelled[index] & ~alone[:, None], area)
