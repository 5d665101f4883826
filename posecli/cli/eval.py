"""`posecli eval`: COCO's numbers for a results file, or for the networks over a folder of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from posecli.cli._options import pipeline_options
from posecli.config import PipelineConfig
from posecli.errors import ConfigError

if TYPE_CHECKING:
    from posecli.evaluation import EvalReport, GroundTruth


@click.command("eval")
@click.option("--gt", type=click.Path(path_type=Path), required=True, help="COCO dataset with keypoints.")
@click.option("--images", type=click.Path(path_type=Path), help="Folder of its pictures: run the networks on them.")
@click.option("--pred", type=click.Path(path_type=Path), help="COCO results to score instead.")
@click.option("--true-boxes", is_flag=True, help="Give the refiner the true boxes: what it is worth alone.")
@click.option("--save", type=click.Path(path_type=Path), help="Write the networks' results here, as COCO results.")
@click.option("--json", "as_json_line", is_flag=True, help="One line of JSON on stdout instead of a table.")
@click.option("-q", "--quiet", is_flag=True, help="No progress bar, no notes.")
@pipeline_options(min_score=0.0)
def evaluate(
    gt: Path,
    images: Path | None,
    pred: Path | None,
    true_boxes: bool,
    save: Path | None,
    as_json_line: bool,
    quiet: bool,
    config: PipelineConfig,
    loading: dict[str, Any],
) -> None:
    """Score poses against COCO ground truth: --pred FILE, or the networks over --images DIR."""
    from rich.console import Console

    from posecli.cli._tables import as_json, scores_table
    from posecli.evaluation import load_ground_truth

    if pred is not None and (images is not None or true_boxes or save is not None):
        raise ConfigError("--pred scores a file; --images, --true-boxes and --save run the networks: choose one")
    if save is not None and not save.parent.is_dir():
        raise ConfigError(f"{save}: there is no folder {save.parent} to write to")
    truth = load_ground_truth(gt)
    if pred is not None:
        report = _score_file(truth, pred)
    elif images is not None:
        report = _run(truth, images, config, loading, true_boxes=true_boxes, save=save, quiet=quiet)
    else:
        raise ConfigError("eval wants --pred FILE, or --images DIR to run the networks on")
    for note in (*truth.notes, *report.notes):
        if not quiet:
            click.echo(note, err=True)
    if as_json_line:
        click.echo(as_json(report))
    else:
        Console().print(scores_table(report))


def _score_file(truth: GroundTruth, pred: Path) -> EvalReport:
    from posecli.evaluation import EvalReport, keypoint_scores, load_results

    results = load_results(pred, truth)
    return EvalReport(scores=keypoint_scores(truth, results), num_annotated=truth.num_annotated, notes=results.notes)


def _run(
    truth: GroundTruth,
    images: Path,
    config: PipelineConfig,
    loading: dict[str, Any],
    *,
    true_boxes: bool,
    save: Path | None,
    quiet: bool,
) -> EvalReport:
    from posecli.cli._progress import progress_bar
    from posecli.engines.evaluate import evaluate_pipeline, evaluate_true_boxes
    from posecli.media.sinks import write_json_atomically
    from posecli.pipeline import load_pipeline, load_refiner

    results: list[dict[str, Any]]
    with progress_bar("pictures", total=len(truth.images), quiet=quiet) as advance:
        if true_boxes:
            refiner = load_refiner(config.refine, **loading)
            report, results = evaluate_true_boxes(truth, images, refiner, batch=config.batch_crops, progress=advance)
        else:
            pipeline = load_pipeline(config, **loading)
            report, results = evaluate_pipeline(truth, images, pipeline, progress=advance)
    if save is not None:
        write_json_atomically(save, results)
    return report
