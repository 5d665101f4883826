"""What a crowd costs: the refiner's time per person by batch size, and what the filter saves.

    python examples/bench_crowd.py --gt person_keypoints_dev.json --images dev/

Thirty labelled people are cut out of the pictures and tiled into one, in memory. The filter is measured on that picture
and on the first pictures as they are, from the same proposals, with it and without: then every proposal goes to the
refiner, which is DetPoseNet's count of what top-down methods do: 8.0 runs a person with MSPN's boxes, 9.5 with HRNet's
(section IV-D). Both ways run in turns in one process, on one core; times are medians over the rounds, by the clock and
of the processor.
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
PROPOSALS = (8.0, 9.5)  # per annotated person: what MSPN and HRNet run on, by the paper's count
ALL = 100_000  # no limit


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


def in_turns(works: Sequence[Callable[[], Any]], rounds: int) -> np.ndarray:
    """Do each of several things once to warm up, then one after the other in rounds.

    Returns:
        (len(works), 2) median milliseconds of each, by the clock and of the processor.
    """
    taken = np.zeros((rounds + 1, len(works), 2))
    for row in taken:
        for cell, work in zip(row, works, strict=True):
            started = np.array((time.perf_counter(), time.process_time()))
            work()
            cell[:] = np.array((time.perf_counter(), time.process_time())) - started
    return 1000 * np.median(taken[1:], axis=0)


def time_batches(image: torch.Tensor, boxes: torch.Tensor, rounds: int) -> None:
    """Print the refiner's time per person for each batch size."""
    pipeline = load_pipeline(PipelineConfig(precision="auto"), device="cpu")

    @torch.inference_mode()
    def look(batch: int) -> None:
        pipeline.refiner([image], [boxes], batch=batch)

    times = in_turns([lambda batch=batch: look(batch) for batch in BATCHES], rounds) / len(boxes)
    for batch, (wall, used) in zip(BATCHES, times, strict=True):
        click.echo(f"batch {batch:2}: {wall:.1f} ms a person, {used:.1f} of the processor ({len(boxes)} people)")


def time_filter(frames: Sequence[Frame], annotated: int, per_person: float, rounds: int) -> None:
    """Print refiner runs per annotated person and time, with the filter and without.

    Args:
        frames: pictures.
        annotated: how many people there are on them.
        per_person: proposals for each of these.
        rounds: see `in_turns`.
    """
    detect = DetectConfig(min_box_score=0, max_proposals=round(per_person * annotated / len(frames)))
    with_it = FilterConfig(max_people=ALL)
    without = FilterConfig(filter=False, max_box_iou=1, max_people=ALL)
    configs = [PipelineConfig(detect=detect, filtering=way, precision="auto") for way in (with_it, without)]
    pipelines = [load_pipeline(config, device="cpu") for config in configs]
    times = in_turns([lambda pipeline=pipeline: list(pipeline.run(frames)) for pipeline in pipelines], rounds)
    for name, pipeline, (wall, used) in zip(("filter", "no filter"), pipelines, times / len(frames), strict=True):
        runs = sum(done.refiner_runs for done in pipeline.run(frames)) / annotated
        click.echo(f"  {name}: {runs:.2f} refiner runs per annotated person, {wall:.0f} ms a picture, {used:.0f} CPU")
    saved = 1 - times[0] / times[1]
    click.echo(f"  the filter saves {saved[0]:.0%} of the time, {saved[1]:.0%} of the processor's")


def find(truth: GroundTruth, images: Path, count: int) -> list[Frame]:
    """Read so many pictures."""
    return [frame for (_, frame), _ in zip(picture_frames(truth, images), range(count), strict=False)]


@click.command(help=(__doc__ or "").splitlines()[0])
@click.option("--gt", required=True, type=click.Path(exists=True, path_type=Path), help="COCO keypoints ground truth.")
@click.option("--images", required=True, type=click.Path(exists=True, path_type=Path), help="Its pictures.")
@click.option("--pictures", default=8, show_default=True, help="So many for the filter, beside the crowd.")
@click.option("--rounds", default=3, show_default=True, help="Turns after one to warm up.")
def main(gt: Path, images: Path, pictures: int, rounds: int) -> None:
    """Load, tile, time."""
    torch.set_num_threads(1)  # as each of the threads that annotate
    truth = load_ground_truth(gt)
    boxes_of = truth.boxes(labelled=True)
    found = find(truth, images, max(pictures, 3 * PEOPLE))
    image, boxes = tile([(frame, boxes_of[frame.image_id]) for frame in found if frame.image_id in boxes_of])
    time_batches(image, boxes, rounds)
    crowd = Frame(index=0, image=image, width=image.shape[1], height=image.shape[0], file_name="crowd")
    first = found[:pictures]
    annotated = truth.select({frame.image_id for frame in first if frame.image_id is not None}).num_annotated
    for per_person in PROPOSALS:
        for name, frames, people in (("crowd", [crowd], len(boxes)), (f"{len(first)} pictures", first, annotated)):
            click.echo(f"{name}, {people} people, {per_person} proposals a person:")
            time_filter(frames, people, per_person, rounds)


if __name__ == "__main__":
    main()
