"""What a crowd costs: the refiner's time per person by batch size, and what the filter saves against box NMS.

    python examples/bench_crowd.py --gt person_keypoints_dev.json --images dev/

Thirty labelled people are cut out of the pictures and tiled into one, in memory. The filter is measured on the first
pictures as they are, on the same boxes: once with the filter, once with box NMS that lets nearly all of them through,
as where a detector's proposals go to the refiner without a second look. Times are of CPU, the least of several turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from posecli.config import DetectConfig, FilterConfig, PipelineConfig
from posecli.engines.evaluate import picture_frames
from posecli.evaluation.truth import GroundTruth, load_ground_truth
from posecli.pipeline import load_pipeline
from posecli.records import Frame

PEOPLE, COLUMNS, CELL_HW = 30, 6, (260, 200)  # of the tiled picture
BATCHES = (1, 2, 4, 8, 16, 30)
TURNS = 3
LEAST_SCORE, MOST_IOU = 0.02, 0.95  # of the boxes that both ways get, and of what box NMS leaves


def tile(frames: Sequence[tuple[Frame, np.ndarray]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Put people into one picture.

    Args:
        frames: pictures, each with the (N, 4) xyxy boxes of its people.

    Returns:
        (H, W, 3) uint8 and the (P, 4) boxes in it, P at most `PEOPLE`.
    """
    height, width = CELL_HW
    canvas = torch.zeros(height * -(-PEOPLE // COLUMNS), width * COLUMNS, 3, dtype=torch.uint8)
    boxes: list[list[int]] = []
    for frame, people in frames:
        for left, top, *_ in np.asarray(people).round().astype(int).clip(0).tolist():
            if len(boxes) == PEOPLE or frame.image is None:
                break
            part = frame.image[top : top + height, left : left + width]
            y, x = height * (len(boxes) // COLUMNS), width * (len(boxes) % COLUMNS)
            canvas[y : y + part.shape[0], x : x + part.shape[1]] = part
            boxes.append([x, y, x + width, y + height])
    return canvas, torch.tensor(boxes, dtype=torch.float32).view(-1, 4)


def least(work: Callable[[], Any]) -> float:
    """Return the CPU seconds of the quickest turn."""
    seconds = []
    for _ in range(TURNS + 1):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return min(seconds[1:])


def time_batches(frames: Sequence[tuple[Frame, np.ndarray]]) -> None:
    """Print the refiner's time per person for each batch size."""
    pipeline = load_pipeline(PipelineConfig(precision="auto"), device="cpu")
    image, boxes = tile(frames)
    for batch in BATCHES:
        with torch.inference_mode():
            seconds = least(lambda batch=batch: pipeline.refiner([image], [boxes], batch=batch))
        click.echo(f"batch {batch:2}: {1000 * seconds / len(boxes):.1f} CPU ms a person ({len(boxes)} people)")


def time_filter(truth: GroundTruth, frames: Sequence[Frame]) -> None:
    """Print refiner runs per annotated person and time, with the filter and without."""
    ids = {frame.image_id for frame in frames}
    annotated = truth.select({number for number in ids if number is not None}).num_annotated
    seconds = {}
    for name, use in (("filter", True), ("box NMS", False)):
        most_iou = FilterConfig.max_box_iou if use else MOST_IOU
        filtering = FilterConfig(filter=use, max_box_iou=most_iou, max_people=100)
        detect = DetectConfig(min_box_score=LEAST_SCORE)
        config = PipelineConfig(detect=detect, filtering=filtering, precision="auto")
        pipeline = load_pipeline(config, device="cpu")
        runs = sum(done.refiner_runs for done in pipeline.run(frames))
        seconds[name] = least(lambda pipeline=pipeline: list(pipeline.run(frames)))
        cost = f"{1000 * seconds[name] / len(frames):.0f} CPU ms a picture"
        click.echo(f"{name}: {runs / annotated:.2f} refiner runs per annotated person, {cost}")
    click.echo(f"the filter takes {seconds['filter'] / seconds['box NMS']:.2f} of the time")


@click.command(help=(__doc__ or "").splitlines()[0])
@click.option("--gt", required=True, type=click.Path(exists=True, path_type=Path), help="COCO keypoints ground truth.")
@click.option("--images", required=True, type=click.Path(exists=True, path_type=Path), help="Its pictures.")
@click.option("--pictures", default=24, show_default=True, help="So many for the filter.")
def main(gt: Path, images: Path, pictures: int) -> None:
    """Load, tile, time."""
    torch.set_num_threads(1)  # as each of the threads that annotate
    truth = load_ground_truth(gt)
    boxes_of = truth.boxes(labelled=True)
    found = [frame for (number, frame), _ in zip(picture_frames(truth, images), range(4 * pictures), strict=False)]
    time_batches([(frame, boxes_of[frame.image_id]) for frame in found if frame.image_id in boxes_of])
    time_filter(truth, found[:pictures])


if __name__ == "__main__":
    main()
